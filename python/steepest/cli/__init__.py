"""The command line: ``steepest demo | fit | predict | evaluate | plot | export | backends``.

Results go to standard output, progress and errors to standard error; with ``--json``, standard output is one JSON
object. Exit codes: 0 done, 1 the input or the files are not right, 2 the command is not right, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

try:
    import typer

    from steepest.cli import models, pictures
    from steepest.cli.options import example
except ImportError as missing:
    if (missing.name or "").startswith("steepest"):
        raise
    raise SystemExit(f"steepest: the command line needs {missing.name}; pip install 'steepest[cli]'") from None

import numpy as np

from steepest import __version__
from steepest.backends import show_backends
from steepest.errors import SteepestError

HELP = """Linear models by gradient descent, from tables in CSV, TSV or Parquet.

\b
  steepest fit houses.csv --target price --model price.safetensors
  steepest predict price.safetensors new.csv > predicted.csv
  steepest plot coefficients price.safetensors --out prices.png

Results go to standard output, progress and errors to standard error.

\b
Exit codes:
  0    done
  1    the input or a file is not right
  2    the command is not right
  130  interrupted
"""

#: The exit code of what Ctrl-C has ended.
INTERRUPTED = 130

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(asked: bool) -> None:  # noqa: FBT001
    if asked:
        print(f"steepest {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(models.demo)
app.command(
    epilog=example(
        "steepest fit houses.csv --target price --model price.safetensors",
        "steepest fit --config run.toml --alpha 0.1",
        "",
        'where run.toml has lines such as  target = "price"  or  drop = ["ID"]',
    )
)(models.fit)
app.command(epilog=example("steepest predict price.safetensors new.csv > predicted.csv"))(models.predict)
app.command(epilog=example("steepest evaluate price.safetensors new.csv --json"))(models.evaluate)
app.add_typer(pictures.app, name="plot")
app.command(epilog=example("steepest export price.safetensors --onnx price.onnx"))(models.export)


@app.command()
def backends() -> None:
    """List what can compute here, and why the rest cannot."""
    show_backends()


def main() -> None:
    """Run the command line; turn what the user can mend into one line and an exit code."""
    _print_utf8()
    np.seterr(all="ignore")
    try:
        code = app(standalone_mode=False)
    except SteepestError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # Whoever read the output has enough; nothing is left to say, not even while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}", 1)
    except ImportError as error:
        _fail(f"this command needs {error.name}; pip install 'steepest[cli]'", 1)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        # What the parser of the command line itself objects to.
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(error.exit_code)
    # Some versions of typer raise it, others return it.
    if code == INTERRUPTED:
        _fail("interrupted", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _print_utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        # The bars and arrows are not in every code page, and a pipe on Windows has one.
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8")


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
