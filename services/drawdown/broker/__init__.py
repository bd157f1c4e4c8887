"""The local Kafka: a real one, run from what `pip install` brought.

`local.LocalKafka` is the way in, and `errors.BrokerError` all that it raises.
"""
