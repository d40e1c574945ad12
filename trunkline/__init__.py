"""What every Trunkline process agrees on: audio, the bus contract, tenants, settings, errors."""

__version__ = "0.1.0"
