"""Tasks that belong together."""

import asyncio


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
        for task in tasks:
            task.cancel()
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                pass
    if first:
        raise first[0]
