"""What Flotilla's services share: contracts, bus, tables, settings, telemetry, error kinds. It decides nothing."""
