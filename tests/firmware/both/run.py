"""Runs the tests of one file, on CPython and on MicroPython alike: ``run.py NAME``. Each prints one line of JSON."""

import gc
import io
import json
import sys


def _said(error):
    if hasattr(sys, "print_exception"):
        text = io.StringIO()
        sys.print_exception(error, text)
        return text.getvalue()
    import traceback

    return "".join(traceback.format_exception(error))


def _run(test):
    result = test()
    if hasattr(result, "send"):  # a coroutine
        import asyncio

        asyncio.run(result)


def main(name):
    module = __import__(name)
    for each in sorted(dir(module)):
        if each.startswith("test_"):
            try:
                _run(getattr(module, each))
                print(json.dumps({"test": each, "error": None}))
            except Exception as error:
                print(json.dumps({"test": each, "error": _said(error)}))
    print(json.dumps({"end": True}))


if hasattr(gc, "threshold"):  # of MicroPython: as the app has it, else what lives long lies all over the heap
    gc.threshold(16 << 10)
main(sys.argv[1])
