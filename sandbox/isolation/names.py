"""The names of the isolation backends, and of what can be asked for; imports nothing: `kdagent --help` needs them."""

from typing import Literal, get_args

Name = Literal["bwrap", "landlock", "process"]
Preference = Literal["auto", Name]
ISOLATION: tuple[Preference, ...] = get_args(Preference)
"""The strongest backend that works here, or one of them by name, strongest first."""
