"""The strings about folders on the Knowledge base tab, and about how long a job takes: a part of ragkit.ui.strings."""

from __future__ import annotations

from typing import Final

EN: Final = {
    "pace_second": "{n} files/s",
    "pace_minute": "{n} files/min",
    "left_seconds": "about {n} s left",
    "left_minutes": "about {n} min left",
    "left_hours": "about {n} h left",
}

ZH: Final = {
    "pace_second": "每秒 {n} 个",
    "pace_minute": "每分钟 {n} 个",
    "left_seconds": "约剩 {n} 秒",
    "left_minutes": "约剩 {n} 分钟",
    "left_hours": "约剩 {n} 小时",
}
