"""The command line: argparse descriptions, one module per group of commands, one sink for all output.

    app          main(): parse, run, translate every error into a message and an exit code
    command      what a command is;  catalogue  all of them, with help, examples and arguments
    parser       argparse made from the catalogue, with "did you mean"
    output       the sink: text or JSON on stdout, logs and progress on stderr
    text         words, numbers, tables;  *_text  how each kind of report reads
    *_commands   the functions behind the commands; they return an Answer and print nothing

Commands are loaded on use, so that `--version` and `--help` cost hardly more than Python itself.
"""
