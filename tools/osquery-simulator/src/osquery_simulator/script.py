"""What a test may tell a host to do wrong."""

from dataclasses import dataclass, field


@dataclass
class Script:
    """Each number counts down; all zero is a healthy host."""

    crashes_before_answer: int = 0
    """The worker dies after running distributed queries and before it writes: results are lost."""
    crashes_during_query: dict[str, float] = field(default_factory=dict)
    """SQL texts during which the worker dies, and after how many seconds; after the restart they are denylisted."""
    answers_to_repeat: int = 0
    """So many accepted distributed writes are sent once more."""
    logs_to_repeat: int = 0
    """So many accepted log posts are sent once more."""
