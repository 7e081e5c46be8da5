"""Every setting: declared once, read from one file and the environment, checked as a whole.

declare.py    what a setting can be: kinds, units, bounds, and what is said when a value is wrong
settings.py   the settings themselves: the one place to add one
embedded.py   those of the embedded models
observing.py  those of the log, the metrics and the traces
reading.py    latchgate.toml, LATCHGATE_… and the command line, laid over the defaults
document.py   the same table as docs/configuration.md and as `latchgate config show`
"""

from latchgate.config.embedded import EmbeddedSettings
from latchgate.config.observing import LogSettings, MetricsSettings, TraceSettings
from latchgate.config.reading import ConfigError, Reading, load, read
from latchgate.config.settings import (
    GatewaySettings,
    JournalSettings,
    MailSettings,
    ServerSettings,
    SessionSettings,
    Settings,
    SignupSettings,
)

__all__ = [
    "ConfigError",
    "EmbeddedSettings",
    "GatewaySettings",
    "JournalSettings",
    "LogSettings",
    "MailSettings",
    "MetricsSettings",
    "Reading",
    "ServerSettings",
    "SessionSettings",
    "Settings",
    "SignupSettings",
    "TraceSettings",
    "load",
    "read",
]
