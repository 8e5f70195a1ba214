"""Nothing is executed: an audit hook sees no import of what a pickle names, no exec, no process, no write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.hostile import (
    Pickle,
    call,
    code_object,
    function,
    legacy_torch_file,
    named,
    sb3_file,
    sb3_parts,
    torch_file,
    zeros,
)

PROBE = """
import json, sys
from pathlib import Path
from ckptsync.core.readers import read_model

folder = Path(sys.argv[1])
good = folder / "good.zip"
read_model(good)  # everything that is imported on use is in place now
events = []
FORBIDDEN = ("import", "exec", "compile", "marshal.loads", "pickle.find_class", "os.system", "os.exec", "os.posix_spawn",
    "os.fork", "os.spawn", "subprocess.Popen", "socket.connect", "socket.__new__", "ctypes.dlopen", "os.remove", "os.rename",
    "os.mkdir", "os.chmod", "os.truncate", "shutil.rmtree", "builtins.input", "urllib.Request", "code.__new__")

def hook(event, args):
    if event in FORBIDDEN:
        events.append([event, str(args)[:200]])
    elif event == "open" and (isinstance(args[1], str) and set(args[1]) & set("wax+") or args[2] & 3):
        events.append([event, str(args)[:200]])

reports = {}
sys.addaudithook(hook)
for path in sorted(folder.iterdir()):
    report = read_model(path)
    reports[path.name] = [finding.severity.value for finding in report.findings]
names = [name for name in ("torch", "numpy", "pickle", "cloudpickle", "stable_baselines3", "evil_module") if name in sys.modules]
print(json.dumps({"events": events, "reports": reports, "modules": names}))
"""


def test_nothing_is_executed_or_written(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    marker = tmp_path / "marker"
    module = tmp_path / "evil_module.py"
    module.write_text(f"open({str(marker)!r}, 'w').close()\n")
    command = f"touch {marker}"
    evil = {
        "system": call("os", "system", command),
        "eval": call("builtins", "eval", f"open({str(marker)!r}, 'w')"),
        "import": named("evil_module", "anything"),
        "popen": call("subprocess", "Popen", ["touch", str(marker)]),
        "lambda": function(code_object(b"\x97\0d\0S\0")),
        "nested": call("torch.storage", "_load_from_bytes", torch_file({}, call("os", "system", command).done())),
        "ext": Pickle().raw(b"\x82\x01"),
    }
    (folder / "good.zip").write_bytes(sb3_file())
    for name, program in evil.items():
        (folder / f"field-{name}.zip").write_bytes(sb3_file(x=program))
        parts = sb3_parts()
        parts.members["policy.pth"] = torch_file({}, Pickle().value({"w": program}).done())
        (folder / f"member-{name}.zip").write_bytes(parts.pack())
        (folder / f"bare-{name}.pkl").write_bytes(program.done())
        (folder / f"torch-{name}.pt").write_bytes(torch_file({}, program.done()))
        old = legacy_torch_file({"w": zeros(2)})
        (folder / f"old-{name}.pt").write_bytes(old.replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n"))
    run = subprocess.run(
        [sys.executable, "-c", PROBE, folder], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    result = json.loads(run.stdout)
    assert result["events"] == []
    assert result["modules"] == []
    assert not marker.exists()
    assert result["reports"].pop("good.zip") == []
    assert len(result["reports"]) == 5 * len(evil)
    for name, severities in result["reports"].items():
        assert "blocker" in severities, name
