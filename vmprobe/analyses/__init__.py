"""Questions: functions of a snapshot that return typed answers."""
