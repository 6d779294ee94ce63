import requests
import json
import websocket
import threading

# Create metrics
for i in range(100):
    metric_data = {
        "name": "api_requests_total",
        "metric_type": "counter",
        "value": i + 1,
        "tags": {
            "endpoint": "/api/users",
            "method": "GET",
            "status": "200"
        },
        "unit": "requests"
    }
    
    response = requests.post("http://localhost:8000/api/metrics", json=metric_data)
    print(f"Created metric {i+1}")

# Create analytics query
query_data = {
    "name": "Request Rate by Endpoint",
    "query_string": "metric:api_requests_total",
    "time_range": "1h",
    "aggregation": "sum",
    "group_by": ["endpoint"]
}

response = requests.post("http://localhost:8000/api/queries", json=query_data)
query = response.json()

# Execute query
response = requests.post(f"http://localhost:8000/api/queries/{query['id']}/execute")
result = response.json()

print("Query Results:")
for row in result['data']:
    print(f"{row['group']}: {row['value']}")

# Create alert
alert_data = {
    "name": "High Request Rate Alert",
    "metric_name": "api_requests_total",
    "alert_type": "threshold",
    "threshold": 50,
    "condition": ">",
    "notification_channels": ["email"]
}

response = requests.post("http://localhost:8000/api/alerts", json=alert_data)
alert = response.json()
print(f"Created alert: {alert['id']}")

# WebSocket client for real-time updates
def on_message(ws, message):
    data = json.loads(message)
    print(f"Received: {data['type']}")

def on_open(ws):
    print("WebSocket connected")
    # Subscribe to query updates
    ws.send(json.dumps({
        "type": "subscribe",
        "query_id": query['id']
    }))

ws = websocket.WebSocketApp("ws://localhost:8000/ws/python_client",
                          on_message=on_message,
                          on_open=on_open)

# Run WebSocket in separate thread
ws_thread = threading.Thread(target=ws.run_forever)
ws_thread.daemon = True
ws_thread.start()

# Keep sending metrics to trigger real-time updates
import time
for i in range(10):
    metric_data = {
        "name": "api_requests_total",
        "metric_type": "counter",
        "value": 100 + i,
        "tags": {"endpoint": "/api/users"}
    }
    requests.post("http://localhost:8000/api/metrics", json=metric_data)
    time.sleep(1)
