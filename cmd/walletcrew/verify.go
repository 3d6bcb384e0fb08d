package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A verification is the answer of verify.
type verification struct {
	Matches  bool     `json:"matches"`
	Findings []string `json:"findings"`
}

func (c *cli) verifyCommand() *cobra.Command {
	var signature, bodyFile string
	cmd := &cobra.Command{
		Use:   "verify --signature S",
		Short: "Does a signature fit a body? If not, why?",
		Long: `Does a signature fit a body? If not, why? The body is read from stdin or --body, and must be the bytes as they came.
With an API key it also says whose secret it is: that of which webhook.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("signature") {
				return usagef("which signature? --signature takes the value of the header %s", walletcrew.HeaderSignature)
			}
			body, err := c.readBody(bodyFile)
			if err != nil {
				return err
			}
			v, err := c.verify(cmd.Context(), body, signature)
			if err != nil {
				return err
			}
			if err := c.print(v, func(w *tabwriter.Writer) {
				text := "the signature matches"
				if !v.Matches {
					text = "the signature doesn't match"
				}
				_, _ = fmt.Fprintln(w, c.mark(v.Matches), text)
				for _, finding := range v.Findings {
					_, _ = fmt.Fprintln(w, "  "+visible(finding))
				}
			}); err != nil || v.Matches {
				return err
			}
			return errNo
		},
	}
	cmd.Flags().StringVar(&signature, "signature", "", "the value of the header "+walletcrew.HeaderSignature)
	cmd.Flags().StringVar(&bodyFile, "body", "-", "the `file` with the body; \"-\" is stdin")
	c.addSecretFlag(cmd)
	c.addAccountFlags(cmd)
	return cmd
}

func (c *cli) readBody(name string) ([]byte, error) {
	in := c.in
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the user names it
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errors.New("the body is over 16 MiB")
	}
	return body, err
}

// verify tries the secret that was given, and, with a key, those of the tenant's webhooks.
func (c *cli) verify(ctx context.Context, body []byte, signature string) (verification, error) {
	secret, err := c.secret()
	given := err == nil
	if err != nil && !errors.Is(err, errNoSecret) {
		return verification{}, err
	}
	v := verification{Findings: []string{}}
	v.Matches = given && walletcrew.VerifySignature(body, signature, secret) == nil
	owner, asked, err := c.owner(ctx, body, signature)
	switch {
	case errors.Is(err, errNoAccount) && !given:
		return v, errNoSecret
	case err != nil && !errors.Is(err, errNoAccount):
		if !given {
			return v, err
		}
		v.Findings = append(v.Findings, "the platform's webhooks can't be had: "+oneLine(err))
	}
	if owner != nil {
		v.Matches = v.Matches || !given
		v.Findings = append(v.Findings, fmt.Sprintf("it is the secret of webhook %s, which delivers to %s", owner.ID, owner.Endpoint))
	}
	switch {
	case v.Matches && owner == nil:
		v.Findings = append(v.Findings, "it matches")
	case !v.Matches && given:
		v.Findings = slices.Concat(verifier.Diagnose(body, signature, secret), v.Findings)
	case !v.Matches:
		v.Findings = append(v.Findings, verifier.Diagnose(body, signature, asked...)...)
	}
	return v, nil
}

// owner finds the webhook whose secret made the signature: nil if none did. It returns all secrets, too.
func (c *cli) owner(ctx context.Context, body []byte, signature string) (owner *walletcrew.Webhook, all []walletcrew.Secret, err error) {
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // the answer that counts is there already
	defer cancel()
	for w, err := range client.Webhooks.All(ctx, nil) {
		if err != nil {
			return nil, nil, err
		}
		all = append(all, w.SignatureSecret)
		if owner == nil && walletcrew.VerifySignature(body, signature, w.SignatureSecret) == nil {
			owner = w
		}
	}
	return owner, all, nil
}
