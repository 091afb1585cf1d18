"""Each reading is at the agent once, or counted: through torn frames, lost acknowledgements, absences, resets and power cuts."""

import random

from simulatedagent import Agent, Board, Line


def made(folder, seed=1, **options):
    random.seed(seed)
    agent = Agent()
    return agent, Board(Line(agent, torn=0.15, lost_acks=0.3), folder, **options)


def run(board, steps, away=0.02, back=0.01, resets=0.0):
    """Steps in which the line comes and goes, and the board is reset: as is meant half of the time, else by a cut of its power."""
    for _ in range(steps):
        board.step()
        if random.random() < (away if board.line.is_up else back):
            board.plug(not board.line.is_up)
        if random.random() < resets:
            if random.random() < 0.5:
                board.store.save()
            board.cut()
    board.plug(True)
    board.deliver()


def test_on_a_bad_line_each_comes_once_and_in_order():
    agent, board = made("", ring_bytes=16 << 10)
    run(board, 500, away=0)
    assert agent.taken == list(range(1, 501)) and agent.lost == 0


def test_what_waits_in_flash_comes_in_order_too():
    agent, board = made("kept-order")
    board.plug(False)
    for _ in range(900):
        board.step()
    assert board.store._live.segments
    run(board, 600)
    assert agent.taken == list(range(1, 1501)) and agent.lost == 0


def test_over_resets_each_comes_once_but_what_was_in_memory_only():
    for seed in range(4):
        agent, board = made("kept-resets%d" % seed, seed)
        run(board, 500, resets=0.02)
        assert len(set(agent.taken)) == len(agent.taken) and agent.taken == sorted(agent.taken), seed
        missing = set(range(1, board.made + 1)) - set(agent.taken)
        assert missing <= set(board.gone) and agent.lost == 0, seed


def test_what_has_no_room_is_counted_once_over_resets_and_files_that_were_dropped():
    dropped = 0
    for seed in range(4):
        agent, board = made("kept-small%d" % seed, seed, ring_bytes=1200, kept_readings=128)
        run(board, 1200, away=0.02, back=0.002, resets=0.005)
        assert len(set(agent.taken)) == len(agent.taken), seed
        missing = set(range(1, board.made + 1)) - set(agent.taken) - set(board.gone)
        assert len(missing) <= agent.lost <= board.made - len(agent.taken), (seed, len(missing), agent.lost)
        dropped += len(missing)
    assert dropped > 100
