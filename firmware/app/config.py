"""settings.json: what it may say, what is used where it says nothing or nonsense, and how it is changed. It never stops the board."""

import json
import os

import sensors
from checks import NEEDED, fields, flag, mcu_id, number, shown, text, whole, word

PATH, KEPT = "/settings.json", "/kept"
MAX_BYTES, MAX_SENSORS, MAX_OUTPUTS, MAX_PROBLEMS = 8192, 16, 8, 12
interval = number(0.1, 86400)
HIDDEN = "***"
_PIN = whole(0, 29)


def _any(value):
    return value


def _led(value):
    if isinstance(value, bool) or value == "LED":
        return "LED" if value else None
    return _PIN(value)


_KEYS = {
    "id": (mcu_id, None),
    "interval_seconds": (interval, 10),
    "watchdog": (flag, True),
    "led": (_led, "LED"),
    "sensors": (_any, None),
    "outputs": (_any, None),
    "kept_readings": (whole(0, 20000), 2000),
    "confirm_seconds": (whole(1, 240), 60),
    "wifi": (_any, None),
    "mqtt": (_any, None),
    "ntp": (text(253), None),
}
_WIFI = {"ssid": (text(32), NEEDED), "password": (text(64, 0), ""), "country": (text(2, 2), None)}
_MQTT = {
    "host": (text(253), NEEDED),
    "port": (whole(1, 65535), None),
    "user": (text(128), None),
    "password": (text(256, 0), None),
    "tls": (flag, True),
    "ca": (text(64), None),
    "server_name": (text(253), None),
    "keepalive_seconds": (whole(2, 3600), 30),
}
_SENSOR = {"kind": (word, NEEDED), "name": (word, None), "interval_seconds": (interval, None)}
_OUTPUT = {"pin": (_PIN, NEEDED), "inverted": (flag, False)}


class Sensor:
    """One that the settings name. make(): opens it. interval_seconds: None: the board's."""

    def __init__(self, name, make, interval_seconds, options):
        self.name, self.make, self.interval_seconds, self.options = name, make, interval_seconds, options


class Settings:
    """The values to use, and what is wrong with those that were given: ``problems``, in words."""

    def __init__(self, given, default_id="mcu"):
        found, self.problems = fields(_KEYS, given)
        self.values = found or fields(_KEYS, {})[0]
        #: Empty: nobody has named this board, and it does not name itself to who knows it by another name.
        self.given_id = self["id"] or ""
        self["id"] = self["id"] or default_id
        self._pins = {}
        self["wifi"] = self._table("wifi", _WIFI)
        self["mqtt"] = self._table("mqtt", _MQTT)
        if self["mqtt"]:
            self["mqtt"].setdefault("port", 8883 if self["mqtt"]["tls"] else 1883)
        if isinstance(self["led"], int):
            self._take("led", {"pin": self["led"]})
        self.sensors = self._sensors(self["sensors"])
        self.outputs = self._outputs(self["outputs"])
        del self.problems[MAX_PROBLEMS:]

    def __getitem__(self, key):
        return self.values[key]

    def __setitem__(self, key, value):
        self.values[key] = value

    def _table(self, name, wanted):
        if self[name] is None:
            return None
        found, problems = fields(wanted, self[name], f"{name}.")
        self.problems += problems
        if found is None:
            self.problems.append(f"{name} is not used")
            return None
        return {key: value for key, value in found.items() if value is not None}

    def _sensors(self, given):
        if given is None:
            given = [{"kind": "chip"}]
        if not isinstance(given, list) or len(given) > MAX_SENSORS:
            self.problems.append(f"sensors: it is a list of at most {MAX_SENSORS} tables, and not {shown(given)}")
            given = [{"kind": "chip"}]
        found = []
        for at, each in enumerate(given):
            try:
                sensor = self._sensor(each, f"sensors[{at}].")
                if sensor.name in [other.name for other in found]:
                    raise ValueError(f"another one is called {shown(sensor.name)} too: give it a name")
                self._take(sensor.name or "chip", sensor.options)
                found.append(sensor)
            except ValueError as error:
                self.problems.append(f"sensors[{at}] is not used: {error}")
        return found

    def _sensor(self, given, where):
        if not isinstance(given, dict):
            raise ValueError(f"it is a table, and not {shown(given)}")
        common, problems = fields(_SENSOR, {key: given[key] for key in given if key in _SENSOR}, where)
        if common is None:
            raise ValueError("; ".join(problems))
        kind = sensors.find(common["kind"])
        options, more = fields(kind.options, {key: given[key] for key in given if key not in _SENSOR}, where)
        if options is None:
            raise ValueError("; ".join(more))
        self.problems += problems + more
        name = kind.named if common["name"] is None else common["name"]
        return Sensor(name, lambda: kind.make(**options), common["interval_seconds"], options)

    def _outputs(self, given):
        if given is None:
            return {}
        if not isinstance(given, dict) or len(given) > MAX_OUTPUTS:
            self.problems.append(f"outputs: it is a table of at most {MAX_OUTPUTS} names, and not {shown(given)}")
            return {}
        found = {}
        for name, each in given.items():
            try:
                found[word(name)] = self._output(name, each)
            except ValueError as error:
                self.problems.append(f"outputs.{shown(name)[1:-1]} is not used: {error}")
        return found

    def _output(self, name, given):
        if name == "led" or name in [each.name for each in self.sensors]:
            raise ValueError("there is another value of this name")
        output, problems = fields(_OUTPUT, given if isinstance(given, dict) else {"pin": given}, f"outputs.{name}.")
        if output is None:
            raise ValueError("; ".join(problems))
        self._take(name, output)
        self.problems += problems
        return output

    def _take(self, owner, options):
        """No pin for two; the wires of a bus are for all sensors on it."""
        taken = {options[each]: (owner, each) for each in ("pin", "sda", "scl") if options.get(each) is not None}
        for pin, (_, role) in taken.items():
            other, its = self._pins.get(pin, ("", ""))
            if other and (role != its or role == "pin"):
                raise ValueError(f"pin {pin} is that of {other}")
        self._pins.update(taken)


def read(default_id, path=None):
    """What the file says, as Settings, and never an error."""
    problem = ""
    try:
        given = load(path)
    except ValueError as error:
        given, problem = {}, str(error)
    settings = Settings(given, default_id)
    if problem:
        settings.problems.insert(0, problem)
    return settings


def load(path=None):
    """What the file says, {} if there is none. Raises ValueError, which says what is wrong with it."""
    path = path or PATH
    try:
        size = os.stat(path)[6]
        with open(path) as file:
            data = file.read(min(size, MAX_BYTES))  # memory for more may not be there in one piece
    except OSError as error:
        if error.errno == 2:  # ENOENT
            return {}
        raise ValueError(f"cannot read {path} (error {error.errno}): defaults are used") from None
    except ValueError:  # no UTF-8
        size, data = 0, ""
    if size > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES} bytes: defaults are used")
    try:
        given = json.loads(data)
    except (ValueError, RuntimeError, MemoryError):  # the last two: it is nested too deeply
        raise ValueError(f"{path} is no JSON: defaults are used") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} is no table: defaults are used")
    return given


def changed(given, changes):
    """A copy of what the file says with these keys set; ``mqtt.port`` is one within a table, and None removes the key."""
    found = dict(given)
    for key, value in changes.items():
        table, _, inner = key.partition(".")
        if inner:
            within = found.get(table)
            found[table] = changed(within if isinstance(within, dict) else {}, {inner: value})
        elif value is None:
            found.pop(key, None)
        else:
            found[key] = _with_secrets(value, found.get(key))
    return found


def save(given, path=None):
    """Whole or not at all: the power may go at any time. Raises ValueError when it is too long, OSError when it can't be written."""
    path = path or PATH
    data = json.dumps(given)
    if len(data) > MAX_BYTES:
        raise ValueError(f"settings have at most {MAX_BYTES} bytes")
    with open(path + ".new", "w") as file:
        file.write(data)
    os.rename(path + ".new", path)


def without_secrets(given):
    """As it may be shown; ``changed`` takes it back, and keeps the secrets that are there."""
    if isinstance(given, dict):
        return {key: HIDDEN if _is_secret(key) else without_secrets(value) for key, value in given.items()}
    if isinstance(given, list):
        return [without_secrets(each) for each in given]
    return given


def _with_secrets(given, before):
    if given == HIDDEN:
        return before
    if isinstance(given, dict) and isinstance(before, dict):
        return {key: _with_secrets(value, before.get(key)) for key, value in given.items()}
    return given


def _is_secret(key):
    return any(each in str(key).lower() for each in ("pass", "secret", "psk", "token"))
