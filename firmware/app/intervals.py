"""How often each sensor is measured. From strong to weak: the command ``interval``, the configuration of the fleet, settings.json.

The configuration is a table as docs/wire.md has it in ``cfg``; it is not kept in flash, for it comes again with every connection.
"""

import log
from checks import shown
from config import interval


class Intervals:
    def __init__(self, settings):
        self._general = settings["interval_seconds"]
        self._own = {each.name: each.interval_seconds for each in settings.sensors}
        self._configured = {}  # by name; None: the general one
        self._last = {}
        self.ordered = None

    def of(self, name=None):
        """Seconds, of a sensor; None: of the board."""
        own = self._configured.get(name) or self._own.get(name)
        if name is not None and own:
            return own
        return self.ordered or self._configured.get(None) or self._general

    def configure(self, values):
        """The whole of the configuration. What is wrong in it is said, and what counted before goes on; returns what is wrong."""
        if not isinstance(values, dict):
            values = {}
        if values == self._last:
            return []
        self._last = values
        found, problems = {}, [f"{shown(key)[1:-1]} is not known" for key in values if key not in ("interval_seconds", "sensors")]
        self._take(found, None, "interval_seconds", values.get("interval_seconds"), problems)
        tables = values.get("sensors") or {}
        if not isinstance(tables, dict):
            problems.append(f"sensors: it is a table, and not {shown(tables)}")
            tables = {}
        for name, table in tables.items():
            self._sensor(found, name, table, problems)
        self._configured = found
        for each in problems[:8]:
            log.say(f"configuration: {each}")
        return problems

    def _sensor(self, found, name, table, problems):
        where = f"sensors.{shown(name)[1:-1]}"
        if name == "chip" and name not in self._own:
            name = ""  # what it is called in the log; its values have no name before them
        if name not in self._own:
            problems.append(f"{where}: there is no such sensor")
        elif not isinstance(table, dict):
            problems.append(f"{where}: it is a table, and not {shown(table)}")
        else:
            problems += [f"{where}.{shown(key)[1:-1]} is not known" for key in table if key != "interval_seconds"]
            self._take(found, name, f"{where}.interval_seconds", table.get("interval_seconds"), problems)

    def _take(self, found, name, where, value, problems):
        if value is None:
            return
        try:
            found[name] = interval(value)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            if self._configured.get(name):
                found[name] = self._configured[name]
