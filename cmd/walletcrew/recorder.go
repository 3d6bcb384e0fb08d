package main

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/thewalletcrew/walletcrew-go/cmd/walletcrew/internal/inspector"
)

// A recorded event is a line of the file that --record writes and replay reads: the JSON of a walletcrew.Event. Body is the bytes as they
// came.
type recorded struct {
	Name       string    `json:"name"`
	TenantID   string    `json:"tenantId"`
	ReceivedAt time.Time `json:"receivedAt"`
	Body       *string   `json:"body"`
}

// A recorder appends authentic deliveries to a file.
type recorder struct {
	mu   sync.Mutex
	file *os.File
}

// newRecorder opens the file, which only you can read if it is new: deliveries are your customers' data.
func newRecorder(name string) (*recorder, error) {
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	return &recorder{file: file}, nil
}

func (r *recorder) write(record inspector.Record) error {
	body := string(record.Body)
	line, err := json.Marshal(recorded{Name: record.Event, TenantID: record.Tenant, ReceivedAt: record.Time, Body: &body})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err = r.file.Write(append(line, '\n')) // in one piece: a crash leaves whole lines
	return err
}

func (r *recorder) close() error { return r.file.Close() }
