#!/usr/bin/env python3
"""Check that checkpoints are safe on this machine: python verify_checkpoint_system.py [--json] [--only NAME ...]

Exit code 0 when every check passed, 1 when one failed, 2 when the call is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys

from ckptsync.testing.selfcheck import CHECKS, CheckResult, run_checks, to_json


def main() -> int:
    """Run the checks and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description="Check that checkpoints are safe on this machine.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=[], metavar="NAME", help=", ".join(CHECKS))
    options = parser.parse_args()
    results = run_checks(tuple(options.only), (lambda result: None) if options.json else tell)
    if options.json:
        print(json.dumps(to_json(results), indent=2))
    else:
        failed = sum(not result.ok for result in results)
        print(f"\n{len(results) - failed} passed, {failed} failed")
    return int(to_json(results)["exit_code"])


def tell(result: CheckResult) -> None:
    """Print the row of one check: what was seen, and why it matters."""
    print(f"{'ok  ' if result.ok else 'FAIL'}  {result.name:<20} {result.seconds:5.1f} s  {result.found}")
    print(f"      {'':<20}          {result.reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
