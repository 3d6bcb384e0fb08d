package sqldedupe

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersionsThatAreTooOldAreNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		dialect Dialect
		version string
		want    string // "": it will do
	}{
		{Postgres, "PostgreSQL 15.20 (Debian 15.20-0+deb12u1) on x86_64-pc-linux-gnu", ""},
		{Postgres, "PostgreSQL 9.5.0 on x86_64", ""},
		{Postgres, "PostgreSQL 9.4.26 on x86_64", "PostgreSQL 9.4.26: 9.5 or later is needed"},
		{Postgres, "10.11.19-MariaDB", "isn't PostgreSQL"},
		{Postgres, "CockroachDB CCL v23.1.0", "isn't PostgreSQL"},
		{MySQL, "8.0.36", ""},
		{MySQL, "5.7.44-log", ""},
		{MySQL, "5.6.51", "MySQL 5.6.51: 5.7 or later is needed"},
		{MySQL, "10.11.19-MariaDB-0+deb12u1", ""},
		{MySQL, "5.5.5-10.6.12-MariaDB", ""},
		{MySQL, "10.1.48-MariaDB", "MariaDB 10.1.48: 10.2 or later is needed"},
		{MySQL, "PostgreSQL 15.20", "isn't MySQL"},
		{SQLite, "3.45.1", ""},
		{SQLite, "3.24.0", ""},
		{SQLite, "3.22.0", "SQLite 3.22.0: 3.24 or later is needed"},
		{SQLite, "", "isn't SQLite"},
	}
	for _, tt := range tests {
		err := tt.dialect.checkVersion(tt.version)
		if tt.want == "" {
			require.NoError(t, err, tt.version)
			continue
		}
		require.Error(t, err, tt.version)
		assert.ErrorContains(t, err, tt.want)
	}
}
