"""The board's side of the protocol (docs/microcontrollers.md): what to say to what was heard, and when. No I/O, no clock of its own."""

from frames import MAX_PAYLOAD, dumps
from ticks import ticks_diff
from values import plain

#: Readings on their way at once, and how long an acknowledgement may take, in milliseconds.
WINDOW = 16
AGAIN_MS = 800
#: After so many times without one the pause doubles up to 12.8 s, and one reading asks for all.
PATIENCE = 3
#: A hello that nobody answers is said again after this long, then twice as long, in milliseconds.
HELLO_MS, HELLO_MOST_MS = 2000, 60000
#: What is of before a reset waits so long for the time, from hello on, in milliseconds: who says hello again in it is answered at last.
TIME_MS = 5000
#: How late an acknowledgement may be, in milliseconds: one that comes after a hello after that is the answer to this hello.
LATE_MS = 1000
#: Commands whose ids and answers are remembered, and the characters of an id.
MEMORY = 8
MAX_ID = 64
#: Characters of why something was not done; fewer if they do not fit.
MAX_WHY = 300
#: Unix milliseconds below this are no time that anybody has.
_2020_MS = 1577836800000


class Session:
    """settings_id, fw, hw, acts: what hello says. store: the readings (store.py). now_ms: ticks; unix_ms: Unix milliseconds, None: not known.

    on_command(id, action, args): it is called once for each id; who is called calls ``answer``, at once or later, or raises ValueError(why).
    on_config(values), on_time(unix_ms). bad: the version that was rolled back. answered: whether an agent was heard since the start.
    ignored: messages that made no sense.
    """

    def __init__(self, settings_id, fw, hw, acts, store, now_ms, unix_ms=None):
        self._about = {"id": settings_id[:64], "fw": fw[:64], "hw": hw[:64]}
        self.acts, self._store = acts, store
        self.bad = ""
        self.answered = self.is_up = self._heard = self._greeted = self._waits = False
        self.ignored = 0
        self.on_command = lambda command_id, action, args: self.answer(command_id, False, None, "no such command")
        self.on_config = self.on_time = lambda value: None
        self._answers = []  # [id, message or None], the newest last
        self._results = []
        self._now = now_ms
        self._is_new = False  # a connection of which no time is known yet; what was the time before it may be days ago
        self._meet()
        if unix_ms is not None:
            store.know_time(unix_ms, now_ms)

    def connected(self):
        """A way to the agent is there, and nothing that was said on the one before counts."""
        self.is_up, self._is_new, self._heard, self._waits, self._results = True, True, False, True, []
        self._meet()

    def disconnected(self):
        self.is_up = False

    def tell_bad(self, version):
        """It is another than hello has said."""
        self.bad, self._hellos, self._hello_pause = version, 0, 0

    def know_time(self, unix_ms, now):
        """It is ``unix_ms`` now, says another clock than the agent's."""
        self._store.know_time(unix_ms, now)

    def hear(self, message, now):
        """A message of the agent's."""
        self._now = now
        kind = message.get("t")
        known = {"hi": self._hi, "ack": self._ack, "cmd": self._command, "cfg": self._config}
        if not isinstance(kind, str) or kind not in known or known[kind](message) is False:
            self.ignored += 1
            return
        self.answered = self._heard = True
        if self._hellos and not self._store.is_untold and not self._wants_time():
            self._hello_pause = None

    def answer(self, command_id, ok, value=None, why=""):
        """What became of the command. Without effect when it was answered, or is forgotten."""
        for each in self._answers:
            if each[0] == command_id and each[1] is None:
                each[1] = _result(command_id, ok, value, why)
                self._say(each[1])

    def _say(self, result):
        self._results.append(result)
        if len(self._results) > MEMORY:
            self._results.pop(0)  # it is asked for again

    def due(self, now):
        """The messages to send now, in order. Called often while the link is up, and after each message that was heard."""
        self._now = now
        if not self.is_up:
            return []
        if self._is_new:
            self._is_new, self._said, self._since = False, now, now
        messages, self._results = self._results, []
        if self._store.boot != self._boot:
            self._meet()
        if self._store.is_untold and not self._ends:
            self._ends, self._said, self._hello_pause = True, now, LATE_MS
        if self._hello_pause is not None and ticks_diff(now, self._said) >= self._hello_pause:
            messages.append(self._hello())
        self._look()
        return messages + self._readings()

    def _meet(self):
        """Say hello, and begin with the oldest."""
        self._boot = self._store.boot
        self._hellos, self._hello_pause = 0, 0
        self._said = self._since = self._now
        self._next = self._fruitless = 0
        self._ends = self._told_all = False

    def _hello(self):
        store = self._store
        self._hellos += 1
        self._said = self._now
        self._told_all = self._ends
        again = min(HELLO_MS << min(self._hellos - 1, 5), HELLO_MOST_MS)
        self._hello_pause = again if store.is_untold or self._wants_time() or not self._heard else None
        about = {
            "t": "hello",
            "b": store.boot,
            "seq": store.newest,
            "o": store.oldest,
            "lost": store.lost,
            "acts": list(self.acts[:32]),
        }
        about.update(self._about)
        if self.bad:
            about["bad"] = self.bad[:64]
        if not self._greeted:
            about["new"] = True
        while len(dumps(about)) > MAX_PAYLOAD and about["acts"]:
            about["acts"].pop()  # better than never to be heard
        return about

    def _look(self):
        """Go back to the oldest where no acknowledgement came in time."""
        oldest = self._store.oldest
        pause = AGAIN_MS << min(max(0, self._fruitless - PATIENCE), 4)
        if self._next > oldest and ticks_diff(self._now, self._since) >= pause:
            self._fruitless += 1
            self._next = oldest

    def _wants_time(self):
        return self._store.is_undated and not self._greeted

    def _readings(self):
        store = self._store
        if self._waits and self._wants_time() and ticks_diff(self._now, self._since) < TIME_MS:
            return []
        self._waits = False
        window = WINDOW if self._fruitless < PATIENCE else 1
        following = max(self._next, store.oldest)
        found = store.after(following - 1, max(0, store.oldest + window - following), self._now)
        if found and found[0][0] == store.oldest:
            self._since = self._now
        if found:
            self._next = found[-1][0] + 1
        return [_reading(self._boot, store.oldest, *each) for each in found]

    def _hi(self, message):
        unix_ms, self._greeted = message.get("u"), True
        if _is_count(unix_ms) and unix_ms > _2020_MS:
            self._store.know_time(unix_ms, self._now)
            self.on_time(unix_ms)
        self._meet()

    def _ack(self, message):
        boot, seq = message.get("b"), message.get("s")
        if not isinstance(boot, str) or not _is_count(seq):
            return False
        if self._told_all and boot == self._store.boot:
            self._store.told()
        elif self._store.ack(boot, seq):
            self._fruitless, self._since = 0, self._now

    def _config(self, message):
        if not isinstance(message.get("v", {}), dict):
            return False
        self.on_config(message.get("v", {}))

    def _command(self, message):
        command_id, action, args = message.get("id"), message.get("a"), message.get("args", {})
        if not isinstance(command_id, str) or not 0 < len(command_id) <= MAX_ID:
            return False
        for known, answer in self._answers:
            if known == command_id:
                if answer and answer not in self._results:
                    self._say(answer)
                return
        if not self._remember(command_id):
            self._say(_result(command_id, False, None, "%d other commands are under way" % MEMORY))
        elif not isinstance(action, str) or not isinstance(args, dict):
            self.answer(command_id, False, None, "a command has a name and a table of arguments")
        else:
            self._do(command_id, action, args)

    def _remember(self, command_id):
        """Forget the oldest that has its answer; False when none has."""
        if len(self._answers) >= MEMORY:
            answered = [each for each in self._answers if each[1]]
            if not answered:
                return False
            self._answers.remove(answered[0])
        self._answers.append([command_id, None])
        return True

    def _do(self, command_id, action, args):
        try:
            self.on_command(command_id, action, args)
        except Exception as error:
            self.answer(command_id, False, None, str(error) or type(error).__name__)


def _reading(boot, oldest, seq, values, age):
    message = {"t": "r", "b": boot, "s": seq, "o": oldest, "v": values}
    if age is not None:
        message["a"] = age
    return message


def _result(command_id, ok, value, why):
    message = {"t": "res", "id": command_id, "ok": bool(ok)}
    value = plain(value)
    if value is not None:
        message["v"] = value
    if why:
        message["why"] = str(why)[:MAX_WHY]
    size = len(dumps(message))
    if size > MAX_PAYLOAD and "v" in message:
        message.pop("v")
        message["why"] = "its answer has %d bytes, and %d fit" % (size, MAX_PAYLOAD)
    while len(dumps(message)) > MAX_PAYLOAD:  # what is no ASCII is six bytes, or twelve
        message["why"] = message["why"][: len(message["why"]) // 2]
    return message


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
