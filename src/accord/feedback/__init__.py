"""What people say: the store, frozen snapshots of it, agreement between labelers, the guidelines."""
