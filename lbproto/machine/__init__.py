"""What every machine speaks: values, events, effects, timers, errors."""
