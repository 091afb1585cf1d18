from trial import Trial


def test_it_proves_itself_by_a_minute_without_a_break():
    confirmed = []
    trial = Trial(lambda: confirmed.append(1), 60)
    for now, is_well in ((0, True), (50000, True), (55000, False), (56000, True), (100000, True), (115999, True)):
        trial.look(is_well, now)
        assert not confirmed
    trial.look(True, 116000)
    trial.look(True, 500000)
    assert confirmed == [1]


def test_a_confirmation_that_fails_is_tried_again():
    tries = []

    def confirm():
        tries.append(1)
        if len(tries) == 1:
            raise OSError(28)

    trial = Trial(confirm, 0)
    trial.look(True, 0)
    try:
        trial.look(True, 1)
    except OSError:
        trial.look(True, 2)
    trial.look(True, 3)
    assert len(tries) == 2


def test_nobody_waits():
    Trial(None, 0).look(True, 0)
