"""What the programs of this project share: help in sections, usage errors in one line, exit codes.

Usage errors are the library's own (an unknown option, a number that is none) and every SpecError: what is wrong on the
command line itself. They end with exit code 2, all other errors of users with 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any, cast, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from streamtag.errors import SpecError, StreamtagError
from streamtag.text import closest

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells count signals: 128 + SIGINT, 128 + SIGPIPE
PLAIN: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}
MAX_OPTION_WIDTH = 28  # of the first column of help; longer ones have a line of their own
NUMBERS: dict[object, tuple[str, str]] = {int: ("a whole number", "N"), float: ("a number", "X")}  # what and in help
LIBRARY_TYPE = re.compile(r" <.*>$")  # how the library writes the value of an option, and its limits
LOWER_LIMIT, BOTH_LIMITS = re.compile(r"x>=([0-9.]+)"), re.compile(r"([0-9.]+)<=x<=([0-9.]+)")
_LIBRARY_ERROR = cast("type[Exception]", typer.BadParameter.__base__)  # click's UsageError, which typer does not export


class Section(StrEnum):
    """Titles of the sections of help, in their order."""

    arguments = "Arguments"
    input = "Input"
    output = "Output"
    shown = "What is shown"
    serving = "Serving"
    model = "Model"
    general = "General"


class UsageError(SpecError):
    """Something is wrong on the command line. hint: what to type instead; by default the help of the command."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class _CommandError(Exception):
    """A usage error of the command that is called `path`, such as `streamtag file`."""

    def __init__(self, path: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint or f"{path} --help"


class Command(TyperCommand):
    """A command whose options are grouped by section (`rich_help_panel`)."""

    allow_extra_args = True  # so that it is reported here

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_own_conversion(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _usage_errors(ctx):
            rest = super().parse_args(ctx, args)
            if rest and not ctx.resilient_parsing:
                raise UsageError(f"{rest[0]}: one argument too many")
        return rest

    def invoke(self, ctx: Any) -> Any:
        with _usage_errors(ctx):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        names = [_name(param) for param in self.get_params(ctx) if param.param_type_name == "argument"]
        required = {_name(param) for param in self.get_params(ctx) if param.required}
        return ["[OPTIONS]", *(name if name in required else f"[{name}]" for name in names)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_sections(self, ctx, formatter)


class CommandGroup(TyperGroup):
    """A program of several commands; without any argument it prints its help."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_own_conversion(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help(), file=sys.stderr)
            raise typer.Exit(WRONG_USAGE)
        with _usage_errors(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _usage_errors(ctx):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise self.unknown_command(args)
        return super().resolve_command(ctx, args)

    def unknown_command(self, args: list[str]) -> UsageError:
        """Return what is reported if the first argument is no command."""
        near = closest(args[0], self.commands)
        return UsageError(f"{args[0]}: no such command{f'; did you mean {near}?' if near else ''}")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_sections(self, ctx, formatter)


def run(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a program with these arguments, or those of the process, and return its exit code.

    name: how the program is called, such as `python -m trainer`.
    """
    try:
        code = app(arguments, prog_name=name, standalone_mode=False)
    except _CommandError as error:
        print(f"{error.path.removeprefix('python -m ')}: {error}\ntry: {error.hint}", file=sys.stderr)
        return WRONG_USAGE
    except SystemExit as stop:  # of shell completion
        code = stop.code
    return code if isinstance(code, int) else 0


def guarded(name: str, work: Callable[[], int]) -> int:
    """Return the exit code of the work; an error that a user can cause becomes one line and an exit code.

    SpecErrors pass: they are usage errors.
    """
    try:
        code = work()
        sys.stdout.flush()
    except SpecError:
        raise
    except StreamtagError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    return code


@contextmanager
def _usage_errors(ctx: Any) -> Iterator[None]:
    """Turn the library's and our usage errors into one that knows its command."""
    try:
        yield
    except SpecError as error:
        raise _CommandError(ctx.command_path, str(error), getattr(error, "hint", None)) from None
    except _LIBRARY_ERROR as error:
        raise _CommandError(ctx.command_path, _describe(error, ctx)) from None


def _describe(error: Any, ctx: Any) -> str:
    """Return a usage error of the library in our words."""
    if option := getattr(error, "option_name", None):
        known = {name: param for param in ctx.command.get_params(ctx) for name in param.opts}
        if option not in known:
            by_word = {name.lstrip("-"): name for name in known}
            near = closest(option.lstrip("-"), by_word)
            return f"{option}: no such option{f'; did you mean {by_word[near]}?' if near else ''}"
        if getattr(known[option], "is_flag", False):
            return f"{option} takes no value"
        return f"{option} needs a value: {_name(known[option])}"
    return str(error.message) if isinstance(error, typer.BadParameter) else "a command is missing"


def _with_own_conversion(params: list[Any]) -> list[Any]:
    """Have the values of options and arguments converted here: the library imports pydantic for it, in 0.2 s."""
    for param in params:
        param.process_value = partial(_process_value, param)
    return params


def _process_value(param: Any, ctx: Any, value: Any) -> Any:
    """Return the value of an option or argument: a default, or what was typed, converted. Raises UsageError."""
    is_list = param.multiple or param.nargs == -1
    if is_list:
        value = [_convert(param, text) for text in value or ()]
    elif isinstance(value, str):
        value = _convert(param, value)
    if param.required and (value is None or (is_list and not value)):
        raise UsageError(f"{_name(param)} is missing")
    return value if param.callback is None else param.callback(ctx, param, value)


def _convert(param: Any, text: str) -> Any:
    """Return what was typed for one value as its type. Raises UsageError."""
    descriptor = param.type_descriptor
    convert = descriptor.parameter_info.parser or next(iter(get_args(descriptor.annotation)), descriptor.annotation)
    names = param.opts[:1] if param.param_type_name == "option" else []
    try:
        value = (text if text in descriptor.choices else None) if descriptor.choices else convert(text)
    except ValueError as error:
        if descriptor.parameter_info.parser is not None:
            raise UsageError(" ".join([*names, str(error)])) from None
        value = None
    low, high = param.min, param.max
    if value is None or (low is not None and not value >= low) or (high is not None and not value <= high):
        raise UsageError(f"{' '.join([*names, text])}: must be {_kind(param)}")
    return value


def _name(param: Any) -> str:
    """Return the name of an option with that of its value, or the name of an argument."""
    if param.param_type_name == "option":
        return str(param.opts[0]) if param.is_flag else f"{param.opts[0]} {_value_name(param)}"
    name = param.metavar or param.name.upper()
    return name if param.nargs == 1 or name.endswith("...") else f"{name}..."


def _value_name(param: Any) -> str:
    """Return what stands for the value of an option in help."""
    descriptor = getattr(param, "type_descriptor", None)
    if param.metavar:
        return str(param.metavar)
    if choices := getattr(descriptor, "choices", None):
        return "|".join(map(str, choices))
    if getattr(descriptor, "is_path", False):
        return "PATH"
    return NUMBERS.get(getattr(descriptor, "annotation", None), ("", "TEXT"))[1]


def _kind(param: Any) -> str:
    """Return which values an option or argument takes."""
    descriptor = getattr(param, "type_descriptor", None)
    if choices := getattr(descriptor, "choices", None):
        *most, last = map(str, choices)
        return f"{', '.join(most)} or {last}" if most else last
    noun = NUMBERS.get(getattr(descriptor, "annotation", None), ("something else", ""))[0]
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    return noun if low is None else f"{noun}, {low} or more"


def _write_sections(command: Any, ctx: Any, formatter: Any) -> None:
    """Write the arguments and options, each section with its title, all with the same columns."""
    sections: dict[str, list[tuple[str, str]]] = {}
    params = command.get_params(ctx)
    is_grouped = any(getattr(param, "rich_help_panel", None) for param in params)
    for param in params:
        if (record := param.get_help_record(ctx)) is not None:
            is_argument = param.param_type_name == "argument"
            name = _name(param) if is_argument else LIBRARY_TYPE.sub(f" {_value_name(param)}", record[0])
            text = BOTH_LIMITS.sub(r"\1 to \2", LOWER_LIMIT.sub(r"\1 or more", record[1]))
            others = Section.general if is_grouped else "Options"
            title = Section.arguments if is_argument else param.rich_help_panel or others
            sections.setdefault(title, []).append((name, text))
    widths = [len(name) for rows in sections.values() for name, _ in rows]
    width = max((each for each in widths if each <= MAX_OPTION_WIDTH), default=0)
    order = [*Section, *sections]
    for title in sorted(sections, key=order.index):
        with formatter.section(str(title)):
            formatter.write_dl([(name.ljust(width), text) for name, text in sections[title]])
