"""Tasks that belong together."""

import asyncio

_LOOK_SECONDS = 0.01


async def first_to_end(*coroutines):
    """Run them at once; when the first ends, end the others. Raises what the first raised. Who is cancelled ends them all."""
    ended, failed = asyncio.Event(), []

    async def guarded(coroutine):
        try:
            await coroutine
        except Exception as error:
            failed.append(error)
        finally:
            ended.set()

    tasks = [asyncio.create_task(guarded(each)) for each in coroutines]
    try:
        await ended.wait()
        first = failed[:1]  # how the others end does not matter
    finally:
        await _end(tasks)
    if first:
        raise first[0]


async def _end(tasks):
    """Cancel them and return when they have ended. They are not awaited: whether it is they or we who are cancelled could not be told apart."""
    cancelled = None
    for task in tasks:
        task.cancel()
    while not all(task.done() for task in tasks):
        try:
            await asyncio.sleep(_LOOK_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
