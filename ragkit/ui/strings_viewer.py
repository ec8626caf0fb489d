"""The strings of the passage in its document: a part of ragkit.ui.strings."""

from __future__ import annotations

from typing import Final

EN: Final = {
    "view_open": "Show in the document",
    "view_page": "Page {n} of {total}",
    "view_part": "Part {n} of {total}",
    "view_previous": "Back",
    "view_next": "Forward",
    "view_download": "Download the original",
    "view_unmarked": "The place cannot be marked: the file changed since it was read, or its text was recognised "
    "from a picture.",
    "view_failed": "The document cannot be shown",
    "chunks": "Show its passages",
    "chunks_name": "Show the passages of {name}",
    "chunks_count": "Passages: {n}",
    "chunks_place": "characters {start:,}–{end:,}",
}

ZH: Final = {
    "view_open": "在文档中查看",
    "view_page": "第 {n} 页，共 {total} 页",
    "view_part": "第 {n} 部分，共 {total} 部分",
    "view_previous": "上一页",
    "view_next": "下一页",
    "view_download": "下载原文件",
    "view_unmarked": "无法标出位置：文件在读取之后有改动，或者文字是从图片中识别出来的。",
    "view_failed": "无法显示该文档",
    "chunks": "查看段落",
    "chunks_name": "查看 {name} 的段落",
    "chunks_count": "共 {n} 个段落",
    "chunks_place": "第 {start:,}–{end:,} 个字符",
}
