package jetstream

func isIgnored(err error) bool { return false }
