"""Tables, engine, outbox and migrations. Optional extra `[db]`: the gateway does not install it."""
