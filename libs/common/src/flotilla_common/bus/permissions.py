"""Who may say and hear what on the bus: one NATS user per service, allow-lists only, a private inbox each.

The lists are data, rendered into the servers' configuration by `flotilla_common.provision nats-config`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from flotilla_common.contracts.streams import bucket_stream, object_stream


@dataclass(frozen=True)
class BusUser:
    """What one service does on the bus. Everything else is refused by the server."""

    name: str
    publishes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()  # core subjects
    reads: tuple[str, ...] = ()  # streams, by consumers
    looks_at: tuple[str, ...] = ()  # streams, state only
    purges: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()  # streams, single messages: to read and to delete
    reads_buckets: tuple[str, ...] = ()
    writes_buckets: tuple[str, ...] = ()
    reads_objects: tuple[str, ...] = ()
    writes_objects: tuple[str, ...] = ()

    def publish_subjects(self) -> list[str]:
        """Return the subjects this user may publish to."""
        subjects = [*self.publishes, *self.asks]
        for stream in (*self.reads, *map(bucket_stream, (*self.reads_buckets, *self.writes_buckets))):
            subjects += _reader(stream)
        subjects += [f"dead.{stream}" for stream in self.reads]
        subjects += [f"$JS.API.STREAM.INFO.{stream}" for stream in self.looks_at]
        subjects += [f"$JS.API.STREAM.PURGE.{stream}" for stream in self.purges]
        for stream in self.picks:
            subjects += [*_getter(stream), f"$JS.API.STREAM.MSG.DELETE.{stream}"]
        subjects += [f"$KV.{bucket}.>" for bucket in self.writes_buckets]
        for stream in map(object_stream, (*self.reads_objects, *self.writes_objects)):
            subjects += [f"$JS.API.STREAM.INFO.{stream}", *_getter(stream)]
        subjects += [f"$JS.API.STREAM.PURGE.{object_stream(store)}" for store in self.writes_objects]
        subjects += [f"$O.{store}.>" for store in self.writes_objects]
        return sorted(set(subjects))

    def subscribe_subjects(self) -> list[str]:
        """Return the subjects this user may subscribe to."""
        return sorted({f"_INBOX.{self.name}.>", *self.answers, *self.hears})


def _reader(stream: str) -> list[str]:
    api = "$JS.API"
    return [
        f"{api}.STREAM.INFO.{stream}",
        *_getter(stream),
        f"{api}.CONSUMER.CREATE.{stream}",
        f"{api}.CONSUMER.CREATE.{stream}.>",
        f"{api}.CONSUMER.DURABLE.CREATE.{stream}.>",
        f"{api}.CONSUMER.INFO.{stream}.>",
        f"{api}.CONSUMER.MSG.NEXT.{stream}.>",
        f"{api}.CONSUMER.DELETE.{stream}.>",
        f"$JS.ACK.{stream}.>",
        f"$JS.FC.{stream}.>",
    ]


def _getter(stream: str) -> list[str]:
    api = "$JS.API"
    return [f"{api}.STREAM.MSG.GET.{stream}", f"{api}.DIRECT.GET.{stream}", f"{api}.DIRECT.GET.{stream}.>"]


USERS: tuple[BusUser, ...] = (
    BusUser(
        "agent_gateway",
        publishes=(
            "logs.>",
            "answers.>",
            "results.>",
            "carves.part.v1",
            "hosts.seen.v1",
            "hosts.due_advanced.v1",
            "campaigns.offered.v1",
        ),
        asks=(
            "inventory.enroll_host.v1",
            "inventory.enroll_orbit.v1",
            "inventory.resolve_node_keys.v1",
            "inventory.resolve_orbit_keys.v1",
            "inventory.set_device_token.v1",
            "inventory.refetch_host.v1",
            "config_merger.render_plan.v1",
            "live_query.begin_carve.v1",
        ),
        hears=("hosts.due_advanced.v1",),
        reads=("HOSTS", "DEVICE_TOKENS"),
        looks_at=("LOGS", "ANSWERS", "RESULTS", "CARVES"),
        reads_buckets=("PLANS", "DETAILS", "CAMPAIGNS"),
        reads_objects=("TARGETS",),
    ),
    BusUser(
        "inventory",
        publishes=(
            "hosts.enrolled.v1",
            "hosts.changed.v1",
            "hosts.deleted.v1",
            "hosts.scope_changed.v1",
            "hosts.enroll_refused.v1",
            "hosts.identity_shared.v1",
            "device_tokens.set.v1",
        ),
        answers=("inventory.>",),
        hears=("hosts.seen.v1",),
        reads=("DEFINITIONS", "RESULTS"),
        looks_at=("HOSTS", "DEVICE_TOKENS"),
        reads_buckets=("PLANS",),
        writes_buckets=("DETAILS",),
    ),
    BusUser(
        "admin_api",
        publishes=("definitions.>", "campaigns.viewed.v1"),
        asks=(
            "inventory.transfer_hosts.v1",
            "inventory.delete_hosts.v1",
            "inventory.refetch_host.v1",
            "inventory.change_label_members.v1",
            "live_query.start_campaign.v1",
            "live_query.stop_campaign.v1",
            "live_query.pause_campaign.v1",
            "analytics.report_now.v1",
            "log_shipper.ledger.v1",
            "log_shipper.destinations.v1",
            "log_shipper.put_destination.v1",
            "log_shipper.remove_destination.v1",
            "log_shipper.pause_destination.v1",
            "log_shipper.try_destination.v1",
            "log_shipper.dead_letters.v1",
            "log_shipper.dead_letter.v1",
            "log_shipper.replay_dead_letters.v1",
            "log_shipper.discard_dead_letters.v1",
            "log_shipper.replay.v1",
            "log_shipper.replays.v1",
            "log_shipper.stop_replay.v1",
        ),
        reads=("HOSTS", "OVERRUNS"),
        looks_at=("DEFINITIONS",),
    ),
    BusUser(
        "config_merger",
        answers=("config_merger.>",),
        reads=("DEFINITIONS",),
        writes_buckets=("PLANS",),
    ),
    BusUser(
        "live_query",
        publishes=("overruns.campaign_over_budget.v1",),
        answers=("live_query.>",),
        hears=("campaigns.viewed.v1", "campaigns.offered.v1"),
        reads=("ANSWERS", "CARVES", "DEFINITIONS", "HOSTS"),
        looks_at=("OVERRUNS",),
        writes_buckets=("CAMPAIGNS",),
        writes_objects=("TARGETS",),
        purges=("KV_CAMPAIGNS",),
    ),
    BusUser(
        "log_shipper",
        answers=("log_shipper.>",),
        reads=("LOGS", "DEFINITIONS", "HOSTS"),
        purges=("LOGS",),
        picks=("DEAD",),
    ),
    BusUser("analytics", answers=("analytics.>",)),
)
PROVISION_USER = "provision"


def authorization(passwords: dict[str, str]) -> str:
    """Return the `authorization` block of a NATS server's configuration for all users.

    `passwords` has one for every service and for `provision`, which alone may make streams and buckets.
    """
    entries = [
        _entry(user.name, passwords[user.name], user.publish_subjects(), user.subscribe_subjects()) for user in USERS
    ]
    entries.append(_entry(PROVISION_USER, passwords[PROVISION_USER], ["$JS.API.>"], [f"_INBOX.{PROVISION_USER}.>"]))
    return "authorization {\n  users = [\n" + "\n".join(entries) + "\n  ]\n}\n"


def _entry(name: str, password: str, publish: list[str], subscribe: list[str]) -> str:
    return (
        f"    {{ user: {name}, password: {json.dumps(password)}, permissions: {{\n"
        f"      publish: {{ allow: {json.dumps(publish)} }}\n"
        f"      subscribe: {{ allow: {json.dumps(subscribe)} }}\n"
        f"      allow_responses: true }} }}"
    )
