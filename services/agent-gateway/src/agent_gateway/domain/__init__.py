"""What the gateway decides, from parsed values and the state of this process. Knows no HTTP and no NATS.

Every handler takes the exact body and returns the exact answer, so that any front can call it.
"""
