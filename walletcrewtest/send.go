package walletcrewtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Send posts one delivery to url as the platform does, signed with secret, and returns the response; close its Body. Send sends body as it
// is, even if it isn't JSON; [Sample] and [Payload] make one. Redirects aren't followed. The answer must be complete within 30 seconds.
//
// The error is nil if there was a response, whatever its status. Otherwise, url or a header is invalid, or there was no response. If ctx
// has ended, it is ctx's error (errors.Is).
func Send(ctx context.Context, url string, secret walletcrew.Secret, tenantID string, name walletcrew.EventName, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("walletcrewtest: Send: %w", err)
	}
	setHeaders(req.Header, walletcrew.Sign(secret, body), tenantID, name)
	resp, err := sender.Do(req)
	if err != nil {
		return nil, fmt.Errorf("walletcrewtest: Send: %w", err)
	}
	return resp, nil
}

var sender = &http.Client{Timeout: deliveryTimeout, CheckRedirect: answerIsFinal}

// answerIsFinal: as on the platform, a redirect is an answer that isn't 2xx.
func answerIsFinal(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// maxLine bounds a line of a file for Replay: the memory that it takes.
const maxLine = 16 << 20

// Replay sends the events of a file to url, one after the other, as [Send] does. Each line of the file is the JSON of a [walletcrew.Event],
// as "walletcrew listen --record" writes it. The body is signed anew. Empty lines are skipped.
//
// Replay stops at the first line that is no event, is over 16 MiB, or isn't answered with 2xx within 30 seconds. The error names the line,
// and the status if there was one. If ctx has ended, it is ctx's error (errors.Is). The lines before it were delivered.
func Replay(ctx context.Context, file, url string, secret walletcrew.Secret) error {
	f, err := os.Open(file) //nolint:gosec // the caller chooses it
	if err != nil {
		return fmt.Errorf("walletcrewtest: Replay: %w", err)
	}
	defer func() { _ = f.Close() }()

	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() {
		number++
		if err := replay(ctx, lines.Bytes(), url, secret); err != nil {
			return fmt.Errorf("walletcrewtest: Replay: line %d: %w", number, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("walletcrewtest: Replay: line %d: it is longer than %d MiB", number+1, maxLine>>20)
	case err != nil:
		return fmt.Errorf("walletcrewtest: Replay: line %d: %w", number+1, err)
	}
	return nil
}

func replay(ctx context.Context, line []byte, url string, secret walletcrew.Secret) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return nil
	}
	var event struct {
		Name     walletcrew.EventName `json:"name"`
		TenantID string               `json:"tenantId"`
		Body     *string              `json:"body"`
	}
	if json.Unmarshal(line, &event) != nil || event.Body == nil { // its error could show the body
		return errors.New(`it isn't the JSON of an event: {"name","tenantId","receivedAt","body"}, with the body as a string`)
	}
	resp, err := Send(ctx, url, secret, event.TenantID, event.Name, []byte(*event.Body))
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the answer is %s: not 2xx", strings.TrimSpace(strconv.Itoa(resp.StatusCode)+" "+http.StatusText(resp.StatusCode)))
	}
	return nil
}
