"""The ground that every room stands on: settings, time, company, lake, engines, event log, models, telemetry."""
