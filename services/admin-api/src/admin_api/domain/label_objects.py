"""Labels as the API shows them (admin API part 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flotilla_common.db.models.admin_api import Label


def label_object(label: Label, *, count: int = 0, host_ids: Sequence[int] | None = None) -> dict[str, Any]:
    """Return a label; `count` is how many of its hosts the viewer may see, `host_ids` belongs to manual labels."""
    author = {} if label.author_id is None else {"author_id": label.author_id}
    return {
        "created_at": label.created_at,
        "updated_at": label.updated_at,
        "id": label.id,
        **author,
        "name": label.name,
        "description": label.description,
        "query": label.query,
        "platform": label.platform,
        "label_type": label.label_type,
        "label_membership_type": label.label_membership_type,
        "host_count": count,
        "display_text": label.name,
        "count": count,
        "host_ids": None if host_ids is None else list(host_ids),
    }


def label_summary(label: Label) -> dict[str, Any]:
    """Return the short form of a label."""
    return {"id": label.id, "name": label.name, "description": label.description, "label_type": label.label_type}
