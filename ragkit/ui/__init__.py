"""The page: Gradio components, HTML rendered in Python, and the ASGI layer around them.

The only room that knows of screens and their languages. The engine below it knows neither.
"""
