"""The commands that a document shows, and what they print there.

A block of commands is run if a line above it says so, as <!-- run: NAME -->; blocks of the same name
belong together. In a block, a line that begins with "# " is a command, which may go on behind a
backslash, and what follows it is its output. "..." stands for anything.
"""

import pathlib
import re
import subprocess
import textwrap

BLOCK = re.compile(r"^( *)([^\n]*)\n\1```console\n(.*?)^\1```$", re.M | re.S)
RUN = re.compile(r"<!-- run: ([\w-]+) -->")
PATIENCE = 300  # seconds
END = "\x1e"


class Command:
    def __init__(self, line):
        self.line = line
        self.output = ""

    def printed(self, output):
        """Whether the output is the one in the document."""
        wanted = ".*".join(map(re.escape, self.output.split("...")))
        return re.fullmatch(wanted, output, re.S)


def commands_in(block):
    found, is_open = [], False
    for line in block.splitlines():
        if is_open:
            found[-1].line += "\n" + line
        elif line.startswith("# "):
            found.append(Command(line[2:]))
        else:
            found[-1].output += line + "\n"
        is_open = line.endswith("\\") and (is_open or line.startswith("# "))
    return found


def blocks_of(document):
    """(the line above, commands) of each block."""
    return [(above, commands_in(textwrap.dedent(block)))
            for _, above, block in BLOCK.findall(pathlib.Path(document).read_text())]


def runs_of(document):
    """{name: commands} of those that are to be run."""
    runs = {}
    for above, commands in blocks_of(document):
        named = RUN.fullmatch(above)
        if named:
            runs.setdefault(named[1], []).extend(commands)
    return runs


def run_all(commands, folder, environment):
    """(output, exit status) of each, as one shell runs them in the folder."""
    script = "exec 2>&1\n" + "".join(
        f"{each.line}\nstatus=$?; printf '{END}%d{END}' $status; (exit $status)\n"
        for each in commands)
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, timeout=PATIENCE,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    pieces = done.stdout.split(END)
    return list(zip(pieces[0::2], map(int, pieces[1::2])))
