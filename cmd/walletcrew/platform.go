package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const platformAddr = "127.0.0.1:4041"

func (c *cli) platformCommand() *cobra.Command {
	var addr, tenant, readyFile string
	var redeliver bool
	cmd := &cobra.Command{
		Use:   "platform",
		Short: "The platform in memory as a server, for tests in any language",
		Long: `The platform in memory as a server: the management API, and deliveries that are signed as the platform's.
The control API beside it lets events happen and things go wrong:

  curl -d '{"event":"Pass:Installed"}' http://127.0.0.1:4041/_control/emit
  curl -d '[{"method":"POST","statusCode":503}]' http://127.0.0.1:4041/_control/faults
  curl http://127.0.0.1:4041/_control/state

Tenant, key and secret are fixed: "` + devTenant + `", "` + devAPIKey + `", and what "walletcrew dev --print-secret" prints.
--tenant, WALLETCREW_API_KEY, and WALLETCREW_SECRET or --secret-file change them. The secret is that of the first webhook; the others
have random ones, which the management API tells. Whoever reaches the address may do all of that: keep it to your own network.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := c.secretOr(devSecret)
			if err != nil {
				return err
			}
			opts := []walletcrewtest.Option{walletcrewtest.WithTenantID(tenant), walletcrewtest.WithPlainHTTP(),
				walletcrewtest.WithAPIKey(cmp.Or(os.Getenv("WALLETCREW_API_KEY"), devAPIKey)), walletcrewtest.WithSecrets(secret),
				walletcrewtest.WithHTTPClient(newSender())}
			if redeliver {
				opts = append(opts, walletcrewtest.WithRedelivery(walletcrewtest.Redelivery{}))
			}
			p, err := newPlatform(cmd.Context(), addr, false, opts...)
			if err != nil {
				return err
			}
			defer p.close()
			r := ready{Platform: p.url(), Tenant: p.TenantID, APIKey: p.APIKey, Secret: string(secret)}
			if err := writeReady(readyFile, r); err != nil {
				return err
			}
			c.say("the platform is at %s, tenant %s; its control API at %s/_control/; Ctrl-C ends it", p.url(), p.TenantID, p.url())
			<-cmd.Context().Done()
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&addr, "listen", platformAddr, "the `address` to listen on; \":4041\" is all interfaces, which containers can reach")
	flags.StringVar(&tenant, "tenant", devTenant, "the tenant's `id`")
	flags.BoolVar(&redeliver, "redeliver", false, "deliver again what isn't answered with 2xx")
	flags.StringVar(&readyFile, "ready-file", "", "write what a test needs to connect to this `file`, mode 0600, when the platform answers")
	c.addSecretFlag(cmd)
	cmd.AddCommand(c.healthcheckCommand())
	return cmd
}

func (c *cli) healthcheckCommand() *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Does the platform answer? For the healthcheck of a docker-compose file", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTarget("--url", target); err != nil {
				return err
			}
			err := healthy(cmd.Context(), target)
			h := struct {
				Healthy bool   `json:"healthy"`
				Error   string `json:"error"`
			}{Healthy: err == nil}
			text := "healthy"
			if err != nil {
				h.Error = oneLine(err)
				text = "not healthy: " + h.Error
			}
			if printErr := c.line(h, text); printErr != nil || err == nil {
				return printErr
			}
			return errNo
		},
	}
	cmd.Flags().StringVar(&target, "url", cmp.Or(os.Getenv("WALLETCREW_BASE_URL"), "http://"+platformAddr), "the platform's `URL`")
	return cmd
}

func healthy(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(target, "/")+"/_control/health", nil)
	if err != nil {
		return err
	}
	resp, err := localClient.Do(req)
	if err != nil {
		return plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 16))
	if resp.StatusCode != http.StatusOK || strings.TrimSpace(string(text)) != "ok" {
		return fmt.Errorf("%s isn't `walletcrew platform` (status %d)", target, resp.StatusCode)
	}
	return nil
}
