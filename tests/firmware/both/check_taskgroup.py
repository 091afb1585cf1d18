import asyncio

from scripted import stopped
from taskgroup import first_to_end

LOG = []


async def holds(name, last_words=0):
    try:
        while True:
            await asyncio.sleep(10)
    finally:
        await asyncio.sleep(last_words)
        LOG.append(name)


async def fails(error):
    await asyncio.sleep(0)
    raise error


async def ends():
    pass


async def raised(*coroutines):
    try:
        await first_to_end(*coroutines)
    except Exception as error:
        return error
    return None


async def test_the_first_that_fails_ends_the_others_and_is_raised():
    LOG.clear()
    error = ValueError("first")
    assert await raised(holds("a"), fails(error), holds("b", 0.05)) is error
    assert sorted(LOG) == ["a", "b"], "when it returns they have ended"
    assert await raised(holds("c"), ends()) is None


async def test_one_that_never_began_is_ended_too():
    assert await raised(ends(), *[holds("x") for _ in range(3)]) is None


async def test_who_is_cancelled_ends_them_also_while_they_are_ending():
    for pause in (0, 0.02, 0.06):
        LOG.clear()
        task = asyncio.create_task(raised(holds("a", 0.1), fails(ValueError("x")) if pause else holds("b")))
        await asyncio.sleep(pause)
        task.cancel()
        try:
            await task
            raise AssertionError("the cancellation was lost")
        except asyncio.CancelledError:
            pass
        assert "a" in LOG or pause == 0
    await stopped(task)
