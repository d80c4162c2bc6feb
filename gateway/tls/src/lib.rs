//! TLS of the gateway: handshakes by rustls, then a compact record per connection.
