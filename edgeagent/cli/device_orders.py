"""``edgeagent device revoke|unrevoke|forget|group|label``: what administrators order about devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import completion, running
from edgeagent.cli.options import ContextName
from edgeagent.errors import Failed, UsageProblem

__all__ = ["add_to", "parse_labels"]

if TYPE_CHECKING:
    from edgeagent.administration import Done
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.admin import Admin

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="The devices.", autocompletion=completion.devices)]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="1 to 63 of a-z, 0-9 and '-'.", autocompletion=completion.groups)]

group = typer.Typer(
    no_args_is_help=True,
    help="Put devices into groups. They link anew within seconds, or when they are online again; local programs notice nothing."
    "\n\nExample: edgeagent device group add kitchen pi-01 pi-02",
)


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    for command in (revoke, unrevoke, forget, label):
        app.command()(command)
    app.add_typer(group, name="group")


def revoke(
    ids: Ids,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the register.", metavar="TEXT")] = "",
    context: ContextName = None,
) -> None:
    """Keep devices out: cut them off now, and refuse them until `unrevoke`. What is local on them goes on. Needs the role admin.

    Example: edgeagent device revoke pi-07 --reason stolen
    """
    _order(context, ids, "revoked", "was revoked already", lambda _, admin: admin.revoke(ids, reason))


def unrevoke(ids: Ids, context: ContextName = None) -> None:
    """Let devices in again that were revoked. They come back by themselves. Needs the role admin.

    Example: edgeagent device unrevoke pi-07
    """
    _order(context, ids, "let in again", "was not revoked", lambda _, admin: admin.unrevoke(ids))


def forget(
    ids: Ids,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_config: Annotated[
        bool, typer.Option("--keep-config", help="Leave their own configuration for whoever gets these ids next.")
    ] = False,
    context: ContextName = None,
) -> None:
    """Cut devices off for good and remove what the hub knows of them. They must enrol again to come back. Needs the role admin.

    Their own configuration (`config set -d ID`) becomes an empty document, signed by you; `config history -d ID` still has the old ones.

    Example: edgeagent device forget pi-07 --yes
    """
    if not yes:
        running.run(_check_known(context, ids))
        _confirm(f"Forget {', '.join(ids)} at the hub {_hub(context)!r} (--yes does not ask)? This cannot be undone")

    async def work(fleet: Fleet, admin: Admin) -> Mapping[str, Done]:
        outcomes = await admin.forget(ids)
        return outcomes if keep_config else await _without_configuration(fleet, outcomes)

    _order(context, ids, "forgotten", "", work)


async def _without_configuration(fleet: Fleet, outcomes: Mapping[str, Done]) -> Mapping[str, Done]:
    """Empty that of those that are forgotten. The outcomes, with an error where it is still there."""
    from edgeagent.administration import Done
    from edgeagent.fleet.admin import forget_configuration

    found = dict(outcomes)
    for device, why in (await forget_configuration(fleet, [name for name, done in found.items() if not done.code])).items():
        if why:
            remedy = f"`echo | edgeagent config apply -d {device} --force -` takes it away"
            text = f"forgotten, but whoever gets this id next gets its configuration too: {why}. {remedy}"
            found[device] = Done(changed=True, code="failed", text=text)
    return found


def _hub(context: str | None) -> str:
    from edgeagent import context as contexts

    return contexts.load(context).name


def _confirm(question: str) -> None:
    """Raises typer.Abort unless the answer is yes, UsageProblem where nobody can answer."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        typer.echo(err=True)
        raise UsageProblem("ask whether you mean it", "there is no terminal, and no yes", "`--yes` does not ask") from None


async def _check_known(context: str | None, ids: Sequence[str]) -> None:
    from edgeagent.fleet import admin

    async with admin.connected(context) as (fleet, _):
        await admin.check_known(fleet, ids)


@group.command("add")
def group_add(name: Group, ids: Ids, context: ContextName = None) -> None:
    """Put devices into GROUP; its config applies after that of the groups that they are in already. Needs the role admin.

    Example: edgeagent device group add kitchen pi-01 pi-02
    """
    _order(context, ids, f"now in {name}", f"was in {name} already", lambda _, admin: admin.change_groups(ids, add=[name]))


@group.command("rm")
def group_rm(name: Group, ids: Ids, context: ContextName = None) -> None:
    """Take devices out of GROUP. Needs the role admin.

    Example: edgeagent device group rm kitchen pi-02
    """
    _order(context, ids, f"no longer in {name}", f"was not in {name}", lambda _, admin: admin.change_groups(ids, remove=[name]))


def label(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device.", autocompletion=completion.devices)],
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Labels to give; KEY- takes one away.")],
    context: ContextName = None,
) -> None:
    """Give a device labels of the hub's. A label in its own settings goes before one of that name here. Needs the role admin.

    Example: edgeagent device label pi-01 site=berlin rack-
    """
    given, taken = parse_labels(changes)
    _order(
        context,
        [device_id],
        _labelled(given, taken),
        "has these labels already" if given else "has no such label",
        lambda _, admin: admin.change_labels([device_id], set=given, remove=taken),
    )


def _labelled(given: Mapping[str, str], taken: Sequence[str]) -> str:
    has = [f"has {', '.join(f'{key}={value}' for key, value in given.items())} now"] if given else []
    return ", ".join(has + ([f"has no label {', '.join(taken)} any more"] if taken else []))


def parse_labels(changes: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """``site=berlin`` and ``rack-`` as what to give and what to take away. Raises UsageProblem for anything else."""
    given: dict[str, str] = {}
    taken: list[str] = []
    for change in changes:
        key, equals, value = change.partition("=")
        if equals and key:
            given[key] = value
        elif change.endswith("-") and len(change) > 1:
            taken.append(change[:-1])
        else:
            raise UsageProblem(
                f"read {change!r}", "it is no change of a label", "write KEY=VALUE to give one, KEY- to take it away"
            )
    return given, taken


def _order(
    context: str | None,
    ids: Sequence[str],
    done: str,
    same: str,
    work: Callable[[Fleet, Admin], Coroutine[Any, Any, Mapping[str, Done]]],
) -> None:
    """Order it and say what became of each device. Raises Failed when something went wrong with one of several."""

    async def run() -> Mapping[str, Done]:
        from edgeagent.fleet import admin

        async with admin.connected(context) as (fleet, orders):
            await admin.check_known(fleet, ids)
            return await work(fleet, orders)

    outcomes = running.run(run())
    for device, outcome in outcomes.items():
        word = outcome.text if outcome.code else done if outcome.changed else same
        note = f" ({outcome.text})" if outcome.text and not outcome.code else ""
        typer.echo(f"{device}: {word}{note}", err=bool(outcome.code))
    if failed := [device for device, outcome in outcomes.items() if outcome.code]:
        raise Failed("do that for all of them", f"it went wrong with {', '.join(failed)}")
