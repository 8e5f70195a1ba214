"""Pickles as programs that are interpreted as data: nothing is imported, called or built.

A pickle is a list of instructions for a stack machine. Here each instruction gives inert values: a global stays a
name, a call stays the pair of its callee and arguments. What was named and called is then judged by `globals`.
Instructions that no checkpoint needs are refused, and so is whatever would cost more than the limits.

Source: the instructions are those of CPython's `Lib/pickletools.py` and `Lib/pickle.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NoReturn

from . import limits
from .pickle_names import with_names
from .window import RefusedError, refuse


class Global:
    """A name that a pickle would import: `module.name`. One program has one object for each name."""

    __slots__ = ("module", "name", "path")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.path = f"{module}.{name}"


class Made:
    """The result of a call that did not happen.

    Args:
        callee: what would be called: a Global, or in hostile and cloudpickled streams something made itself.
        args: its arguments.
        new: made by NEWOBJ, which only makes an empty object of a class and calls no function.
    """

    __slots__ = ("args", "callee", "entries", "extended", "new", "states")

    def __init__(self, callee: Any, args: tuple[Any, ...], new: bool) -> None:
        self.callee = callee
        self.args = args
        self.new = new
        self.states: list[Any] = []  # from BUILD
        self.entries: dict[Any, Any] = {}  # from SETITEM, as an OrderedDict gets them
        self.extended: list[Any] = []  # from APPEND, as a deque gets them

    @property
    def path(self) -> str:
        """The callee's `module.name`, or empty where the callee is no plain global."""
        return self.callee.path if isinstance(self.callee, Global) else ""


class Stored:
    """A persistent id: in torch's files the name of a storage."""

    __slots__ = ("pid",)

    def __init__(self, pid: Any) -> None:
        self.pid = pid


class Program:
    """One interpreted pickle.

    Args:
        data: the bytes.
        subject: what findings call it.
        start: where the pickle begins in the bytes.
        named: receives the globals, also where the pickle is refused further on.

    Attributes:
        value: the inert value that the pickle leaves.
        end: the position behind its STOP.
        globals: every global that is named, with how often it is left as a value and not called.
        calls: every call, in the order in which they would happen (also of those whose result is dropped).
        stored: every persistent id.

    Raises:
        RefusedError: `pickle.damaged`, `pickle.forbidden-opcode`, `pickle.bomb` or `format.too-large`.
    """

    def __init__(self, data: bytes, subject: str, start: int = 0, named: dict[Global, int] | None = None) -> None:
        self._data = data
        self._subject = subject
        self._position = start
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._names: dict[tuple[str, str], Global] = {}
        self.globals: dict[Global, int] = {} if named is None else named
        self.calls: list[Made] = []
        self.stored: list[Stored] = []
        try:
            self.value = self._run()
        except (IndexError, struct.error):
            raise refuse("pickle.damaged", subject, "a whole pickle", "it ends early or its stack runs empty") from None
        except (UnicodeDecodeError, TypeError, KeyError) as error:
            raise refuse("pickle.damaged", subject, "a sound pickle", type(error).__name__) from None
        except RefusedError as error:
            raise with_names(error, [item.path for item in self.globals], data[start:]) from None
        except RecursionError:
            raise refuse("pickle.bomb", subject, "a flat pickle", "nested too deeply") from None
        self.end = self._position

    def _run(self) -> Any:
        data, table, memo, marks = self._data, _TABLE, self._memo, self._marks
        at, stack = self._position, self._stack
        for _ in range(limits.MAX_PICKLE_STEPS):
            code = data[at]
            # the most frequent instructions come first and are written out, for they are most of the work
            if code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
                at += 1
            elif code == 0x71:  # BINPUT
                memo[data[at + 1]] = stack[-1]
                at += 2
            elif code == 0x68:  # BINGET
                self._push_again(memo[data[at + 1]])
                at += 2
            elif code == 0x4B:  # BININT1
                stack.append(data[at + 1])
                at += 2
            elif code == 0x28:  # MARK
                marks.append(stack)
                stack = self._stack = []
                at += 1
            elif code == 0x74:  # TUPLE
                items = tuple(stack)
                stack = self._stack = marks.pop()
                stack.append(items)
                at += 1
            elif code == 0x58 or code == 0x8C:  # BINUNICODE, SHORT_BINUNICODE
                begin = at + 5 if code == 0x58 else at + 2
                at = begin + int.from_bytes(data[at + 1 : begin], "little")
                if at > len(data):
                    raise IndexError
                stack.append(data[begin:at].decode("utf-8", "surrogatepass"))
            elif code == 0x2E:  # STOP
                self._position = at + 1
                value = stack.pop()
                if stack or marks:
                    self._damaged("one value at its end", "more")
                return value
            else:
                handler = table[code]
                if handler is None:
                    raise refuse("pickle.forbidden-opcode", self._subject, actual=f"opcode {code:#04x} ({chr(code)!r})")
                self._position = at + 1
                handler(self)
                at, stack = self._position, self._stack
        raise refuse("format.too-large", self._subject, f"at most {limits.MAX_PICKLE_STEPS} instructions", "more")

    def _damaged(self, expected: str, actual: object) -> NoReturn:
        raise refuse("pickle.damaged", self._subject, expected, actual)

    # reading arguments

    def _take(self, size: int) -> bytes:
        begin = self._position
        self._position = begin + size
        if self._position > len(self._data):
            raise IndexError
        return self._data[begin : self._position]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _line(self) -> str:
        end = self._data.find(b"\n", self._position, self._position + 512)
        if end < 0:
            self._damaged("a name on a line", "none")
        line = self._data[self._position : end]
        self._position = end + 1
        return line.decode("ascii")

    def _integer(self, size: int) -> int:
        if size > limits.MAX_PICKLE_INTEGER_BYTES:
            raise refuse("pickle.bomb", self._subject, f"at most {limits.MAX_PICKLE_INTEGER_BYTES} bytes", size)
        return int.from_bytes(self._take(size), "little", signed=True)

    def _text(self, size: int) -> str:
        return self._take(size).decode("utf-8", "surrogatepass")

    # the stack

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _drop_to_mark(self) -> None:
        self._pop_mark()

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _protocol(self) -> None:
        version = self._number(1)
        if version > 5:
            raise refuse("pickle.forbidden-opcode", self._subject, "protocol 2 to 5", f"protocol {version}")

    def _skip_frame(self) -> None:
        self._take(8)  # a hint for readers of streams

    # values

    def _push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            self._damaged("names of a global", "something else")
        named = self._names.get((module, name))
        if named is None:
            named = self._names[module, name] = Global(module, name)
        self.globals[named] = self.globals.get(named, 0) + 1
        self._stack.append(named)

    def _push_again(self, value: Any) -> None:
        if type(value) is Global:
            self.globals[value] += 1
        self._stack.append(value)

    def _persistent(self) -> None:
        stored = Stored(self._stack.pop())
        self.stored.append(stored)
        self._stack.append(stored)

    def _global_line(self) -> None:
        module = self._line()
        self._push_global(module, self._line())

    def _stack_global(self) -> None:
        name = self._stack.pop()
        self._push_global(self._stack.pop(), name)

    def _call(self, *, new: bool = False) -> None:
        args = self._stack.pop()
        callee = self._stack.pop()
        if not isinstance(args, tuple):
            self._damaged("a tuple of arguments", type(args).__name__)
        if type(callee) is Global:
            self.globals[callee] -= 1
        made = Made(callee, args, new)
        self.calls.append(made)
        self._stack.append(made)

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if not isinstance(target, Made):  # on a class or function it would change the thing itself
            raise refuse("pickle.forbidden-opcode", self._subject, actual="BUILD on what was not made here")
        target.states.append(state)

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise IndexError
        split = len(self._stack) - size
        self._stack[split:] = [tuple(self._stack[split:])]

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Made):
            target.extended.extend(items)
        else:
            raise refuse("pickle.forbidden-opcode", self._subject, actual="APPEND to what is no list")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            entries = target
        elif isinstance(target, Made):
            entries = target.entries
        else:  # on a tensor it would write into memory
            raise refuse("pickle.forbidden-opcode", self._subject, actual="SETITEM on what is no dictionary")
        if len(items) % 2:
            self._damaged("pairs", "a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._check_key(key)
            if key in entries:
                self._damaged("keys that differ", f"{key!r:.80} twice")
            entries[key] = value

    def _check_key(self, key: Any) -> None:
        # nested tuples that share their parts hash in exponential time
        plain = (str, int, float, bytes, type(None), Global)
        if not isinstance(key, plain) and not (
            isinstance(key, tuple) and len(key) <= 16 and all(isinstance(part, plain) for part in key)
        ):
            raise refuse(
                "pickle.forbidden-opcode",
                self._subject,
                "a plain key",
                "an object" if isinstance(key, Made) else type(key).__name__,
            )

    def _add_items(self) -> None:
        items = self._pop_mark()
        target = self._stack[-1]
        if not isinstance(target, set):
            raise refuse("pickle.forbidden-opcode", self._subject, actual="ADDITEMS to what is no set")
        self._update_set(target, items)

    def _update_set(self, target: set[Any], items: list[Any]) -> None:
        for item in items:
            self._check_key(item)
            target.add(item)

    def _frozen_set(self) -> None:
        items: set[Any] = set()
        self._update_set(items, self._pop_mark())
        self._stack.append(frozenset(items))

    def _dict_from_mark(self) -> None:
        items = self._pop_mark()
        self._stack.append({})
        self._set_items(items)

    def _pair(self) -> list[Any]:
        value = self._stack.pop()
        return [self._stack.pop(), value]


def _push(make: Callable[[Program], Any]) -> Callable[[Program], None]:
    def handler(program: Program) -> None:
        value = make(program)  # first, for taking a mark changes the stack
        program._stack.append(value)

    return handler


_Handler = Callable[[Program], None]


def _table() -> list[_Handler | None]:
    """Return the handler of each opcode by its byte (but for those written out in `_run`); None where it is refused.

    Left out on purpose: INST, OBJ, EXT1-4 and NEWOBJ_EX (other ways to call), PERSID and the text forms of
    protocol 0 (never written by torch or SB3), and buffers outside the stream.
    """
    number, text, take = Program._number, Program._text, Program._take
    handlers: dict[int, _Handler] = {
        0x80: Program._protocol,
        0x95: Program._skip_frame,
        ord("0"): Program._pop,
        ord("1"): Program._drop_to_mark,
        ord("2"): lambda p: p._push_again(p._stack[-1]),
        ord("N"): _push(lambda p: None),
        0x88: _push(lambda p: True),
        0x89: _push(lambda p: False),
        ord("J"): _push(lambda p: int.from_bytes(take(p, 4), "little", signed=True)),
        ord("M"): _push(lambda p: number(p, 2)),
        0x8A: _push(lambda p: p._integer(number(p, 1))),
        0x8B: _push(lambda p: p._integer(number(p, 4))),
        ord("G"): _push(lambda p: struct.unpack(">d", take(p, 8))[0]),
        0x8D: _push(lambda p: text(p, number(p, 8))),
        ord("B"): _push(lambda p: take(p, number(p, 4))),
        ord("C"): _push(lambda p: take(p, number(p, 1))),
        0x8E: _push(lambda p: take(p, number(p, 8))),
        0x96: _push(lambda p: take(p, number(p, 8))),  # BYTEARRAY8; nothing here changes it
        ord("T"): _push(lambda p: take(p, number(p, 4))),  # BINSTRING and SHORT_BINSTRING of Python 2
        ord("U"): _push(lambda p: take(p, number(p, 1))),
        ord(")"): _push(lambda p: ()),
        ord("]"): _push(lambda p: []),
        ord("}"): _push(lambda p: {}),
        0x8F: _push(lambda p: set()),
        0x91: Program._frozen_set,
        0x90: Program._add_items,
        ord("l"): _push(Program._pop_mark),
        ord("d"): Program._dict_from_mark,
        0x85: lambda p: p._tuple(1),
        0x86: lambda p: p._tuple(2),
        0x87: lambda p: p._tuple(3),
        ord("a"): lambda p: p._append([p._stack.pop()]),
        ord("e"): lambda p: p._append(p._pop_mark()),
        ord("s"): lambda p: p._set_items(p._pair()),
        ord("u"): lambda p: p._set_items(p._pop_mark()),
        ord("c"): Program._global_line,
        0x93: Program._stack_global,
        ord("R"): Program._call,
        0x81: lambda p: p._call(new=True),
        ord("b"): Program._build,
        ord("Q"): Program._persistent,
        ord("r"): lambda p: p._remember(number(p, 4)),
        ord("j"): lambda p: p._push_again(p._memo[number(p, 4)]),
    }
    return [handlers.get(code) for code in range(256)]


_TABLE = _table()
