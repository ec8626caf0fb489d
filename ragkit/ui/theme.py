"""The theme of the page: Gradio's plain one in the colours of style.css."""

from __future__ import annotations

import gradio as gr


def theme() -> gr.themes.Base:
    """Gradio's plain theme in the colours of style.css. System fonts: nothing is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        radius_size="lg",
        font=[*fonts, "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "Noto Sans Mono CJK SC", "monospace"],
    ).set(
        body_background_fill="#f6f8f8",
        body_background_fill_dark="#101416",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#181d20",
        block_background_fill="#ffffff",
        block_background_fill_dark="#181d20",
        border_color_primary="#dfe5e6",
        border_color_primary_dark="#2b3337",
        block_shadow="none",
        body_text_color="#182022",
        body_text_color_dark="#e6ecec",
        body_text_color_subdued="#55646a",
        body_text_color_subdued_dark="#9fb0b5",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#0b5f58",
        button_primary_background_fill_dark="#0f766e",
        button_primary_text_color="#ffffff",
        link_text_color="#0f766e",
        link_text_color_dark="#5eead4",
    )
