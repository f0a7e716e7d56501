"""The API by which apps send feedback and work with tasks, beside the OpenAI-compatible one."""
