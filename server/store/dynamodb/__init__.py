"""The store's way to DynamoDB. client.py is the door: whoever wants tables uses `Client` and nothing behind it."""
