"""The edge: HTTP in and out, the API's shapes, validation. Knows neither storage nor policies."""
