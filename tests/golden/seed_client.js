// Send metrics
const sendMetric = async (name, value, tags = {}) => {
  const metricData = {
    name,
    metric_type: "counter",
    value,
    tags,
    unit: "requests"
  };

  const response = await fetch('http://localhost:8000/api/metrics', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(metricData)
  });

  return response.json();
};

// Send analytics events
const trackEvent = async (eventType, properties = {}) => {
  const eventData = {
    event_type: eventType,
    properties,
    metadata: {
      timestamp: new Date().toISOString()
    }
  };

  const response = await fetch('http://localhost:8000/api/events', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(eventData)
  });

  return response.json();
};

// Real-time WebSocket client
class AnalyticsClient {
  constructor(clientId) {
    this.ws = new WebSocket(`ws://localhost:8000/ws/${clientId}`);
    this.subscriptions = new Map();

    this.ws.onmessage = (event) => {
      const message = JSON.parse(event.data);
      this.handleMessage(message);
    };
  }

  handleMessage(message) {
    switch (message.type) {
      case 'new_metric':
        console.log('New metric received:', message.metric);
        break;
      case 'new_event':
        console.log('New event received:', message.event);
        break;
      case 'realtime_update':
        console.log('Real-time update:', message.data);
        break;
      case 'alert_triggered':
        console.log('Alert triggered:', message.alert);
        break;
    }
  }

  async subscribe(queryId, callback) {
    this.ws.send(JSON.stringify({
      type: 'subscribe',
      query_id: queryId
    }));

    this.subscriptions.set(queryId, callback);
  }

  async unsubscribe(queryId) {
    this.ws.send(JSON.stringify({
      type: 'unsubscribe',
      subscription_id: queryId
    }));

    this.subscriptions.delete(queryId);
  }
}

// Usage
const client = new AnalyticsClient('web_client_123');

// Track user interactions
document.addEventListener('click', (event) => {
  trackEvent('button_click', {
    button_id: event.target.id,
    button_text: event.target.textContent,
    page: window.location.pathname
  });
});

// Subscribe to real-time metrics
client.subscribe('query_123', (data) => {
  console.log('Real-time metrics update:', data);
});
