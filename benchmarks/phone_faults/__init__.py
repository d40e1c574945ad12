"""What a telephone caller notices when a part of the call dies: `python -m benchmarks.phone_faults`."""
