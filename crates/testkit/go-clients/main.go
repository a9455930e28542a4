// go-oidc and golang.org/x/oauth2 with all their checks on, as a client of Mandate.
//
// Reads {"issuer", "resource", "scope", "redirect_uri", "person", "secret", "agent"} as JSON from standard input; exits 0 if
// everything holds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	accessToken = "urn:ietf:params:oauth:token-type:access_token"
	exchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
	jwtSpiffe   = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

type world struct {
	Issuer      string `json:"issuer"`
	Resource    string `json:"resource"`
	Scope       string `json:"scope"`
	RedirectURI string `json:"redirect_uri"`
	Secret      string `json:"secret"`
	Person      struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	} `json:"person"`
	Agent struct {
		Svid     string `json:"svid"`
		SpiffeID string `json:"spiffe_id"`
	} `json:"agent"`
}

// claims are those of an access token that the checks look at.
type claims struct {
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Act      struct {
		Sub string `json:"sub"`
	} `json:"act"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var w world
	if err := json.NewDecoder(os.Stdin).Decode(&w); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}

	// Discovery: the issuer in the document is the one that was asked for.
	provider, err := oidc.NewProvider(ctx, w.Issuer)
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	if _, err := oidc.NewProvider(ctx, w.Issuer+"/tenant"); err == nil {
		return errors.New("another issuer is found at the same server")
	}
	endpoint := provider.Endpoint()
	if endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return fmt.Errorf("endpoints are missing: %+v", endpoint)
	}
	// No ID tokens are issued here, and no endpoint tells who the person is.
	if provider.UserInfoEndpoint() != "" {
		return errors.New("there is a userinfo endpoint")
	}

	// Authorization code with PKCE, and the refresh that a token source does by itself.
	app := &oauth2.Config{
		ClientID:     "post-app",
		ClientSecret: w.Secret,
		Endpoint:     endpoint,
		RedirectURL:  w.RedirectURI,
		Scopes:       []string{w.Scope, oidc.ScopeOfflineAccess},
	}
	resource := oauth2.SetAuthURLParam("resource", w.Resource)
	token, err := logIn(ctx, app, &w, resource)
	if err != nil {
		return fmt.Errorf("authorization code: %w", err)
	}
	if !token.Valid() || token.Type() != "Bearer" || token.RefreshToken == "" {
		return fmt.Errorf("authorization code: type %s, expires %s", token.Type(), token.Expiry)
	}
	if err := isAccessToken(ctx, provider, w.Resource, token, w.Person.Name, app.ClientID, w.Scope, ""); err != nil {
		return fmt.Errorf("authorization code: %w", err)
	}
	token.Expiry = time.Now().Add(-time.Minute)
	refreshed, err := app.TokenSource(ctx, token).Token()
	if err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	if refreshed.RefreshToken == token.RefreshToken || refreshed.AccessToken == token.AccessToken {
		return errors.New("refresh: a token is the old one")
	}
	if err := isAccessToken(ctx, provider, w.Resource, refreshed, w.Person.Name, app.ClientID, w.Scope, ""); err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	// The old token was used twice: the login is over.
	if err := isRefused(app, ctx, token, "invalid_grant"); err != nil {
		return err
	}
	if err := isRefused(app, ctx, refreshed, "invalid_grant"); err != nil {
		return err
	}

	// A resource server accepts no token for another one, and no forged one.
	forged := refreshed.AccessToken[:len(refreshed.AccessToken)-8] + "AAAAAAAA"
	if _, err := verifier(provider, w.Resource).Verify(ctx, forged); err == nil {
		return errors.New("a forged token is accepted")
	}
	for _, audience := range []string{"https://elsewhere.example", w.Issuer} {
		if _, err := verifier(provider, audience).Verify(ctx, refreshed.AccessToken); err == nil {
			return fmt.Errorf("a token for %s is accepted at %s", w.Resource, audience)
		}
	}

	// The agent: client credentials, and an exchange of the person's token.
	agent := &clientcredentials.Config{
		ClientID:  w.Agent.SpiffeID,
		TokenURL:  endpoint.TokenURL,
		Scopes:    []string{w.Scope},
		AuthStyle: oauth2.AuthStyleInParams,
		EndpointParams: url.Values{
			"client_assertion_type": {jwtSpiffe},
			"client_assertion":      {w.Agent.Svid},
			"resource":              {w.Resource},
		},
	}
	own, err := agent.Token(ctx)
	if err != nil {
		return fmt.Errorf("client credentials: %w", err)
	}
	if err := isAccessToken(ctx, provider, w.Resource, own, w.Agent.SpiffeID, w.Agent.SpiffeID, w.Scope, ""); err != nil {
		return fmt.Errorf("client credentials: %w", err)
	}
	app.ClientID, app.ClientSecret, app.Scopes = "support-app", "", []string{w.Scope}
	subject, err := logIn(ctx, app, &w)
	if err != nil {
		return fmt.Errorf("subject token: %w", err)
	}
	agent.EndpointParams.Set("grant_type", exchange)
	agent.EndpointParams.Set("subject_token", subject.AccessToken)
	agent.EndpointParams.Set("subject_token_type", accessToken)
	mandate, err := agent.Token(ctx)
	if err != nil {
		return fmt.Errorf("token exchange: %w", err)
	}
	if issued := mandate.Extra("issued_token_type"); issued != accessToken {
		return fmt.Errorf("token exchange: issued_token_type is %v", issued)
	}
	if err := isAccessToken(ctx, provider, w.Resource, mandate, w.Person.Name, w.Agent.SpiffeID, w.Scope, w.Agent.SpiffeID); err != nil {
		return fmt.Errorf("token exchange: %w", err)
	}
	agent.Scopes = []string{"send:mail"}
	var refusal *oauth2.RetrieveError
	if _, err := agent.Token(ctx); !errors.As(err, &refusal) || refusal.ErrorCode != "invalid_scope" {
		return fmt.Errorf("token exchange: not refused as invalid_scope: %v", err)
	}
	return nil
}

// verifier checks as a resource server does. The algorithm has to be named: the library takes it from what metadata say of ID
// tokens, and assumes RS256 where there are none.
func verifier(provider *oidc.Provider, audience string) *oidc.IDTokenVerifier {
	return provider.Verifier(&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.ES256}})
}

// isAccessToken verifies a token with go-oidc's verifier, as a resource server does: signature by the published keys, issuer,
// audience, expiry.
func isAccessToken(ctx context.Context, provider *oidc.Provider, resource string, token *oauth2.Token, sub, client, scope, actor string) error {
	verified, err := verifier(provider, resource).Verify(ctx, token.AccessToken)
	if err != nil {
		return err
	}
	var said claims
	if err := verified.Claims(&said); err != nil {
		return err
	}
	found := [4]string{verified.Subject, said.ClientID, said.Scope, said.Act.Sub}
	if found != [4]string{sub, client, scope, actor} {
		return fmt.Errorf("subject, client, scope, actor: %q", found)
	}
	return nil
}

func isRefused(app *oauth2.Config, ctx context.Context, token *oauth2.Token, code string) error {
	old := *token
	old.Expiry = time.Now().Add(-time.Minute)
	var refusal *oauth2.RetrieveError
	if _, err := app.TokenSource(ctx, &old).Token(); !errors.As(err, &refusal) || refusal.ErrorCode != code {
		return fmt.Errorf("refresh: not refused as %s: %v", code, err)
	}
	return nil
}

// logIn is the code flow, with a browser that fills in the login page.
func logIn(ctx context.Context, app *oauth2.Config, w *world, options ...oauth2.AuthCodeOption) (*oauth2.Token, error) {
	verifier := oauth2.GenerateVerifier()
	state := oauth2.GenerateVerifier()
	address := app.AuthCodeURL(state, append([]oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}, options...)...)
	back, err := browse(address, w)
	if err != nil {
		return nil, err
	}
	query := back.Query()
	if query.Get("state") != state || query.Get("iss") != w.Issuer {
		return nil, fmt.Errorf("the answer is another one: %s", back)
	}
	return app.Exchange(ctx, query.Get("code"), append([]oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}, options...)...)
}

var hidden = regexp.MustCompile(`name="csrf" value="([^"]*)"`)

func browse(address string, w *world) (*url.URL, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	page, err := browser.Get(address)
	if err != nil {
		return nil, err
	}
	defer page.Body.Close()
	var body strings.Builder
	if err := page.Write(&body); err != nil {
		return nil, err
	}
	csrf := hidden.FindStringSubmatch(body.String())
	if csrf == nil {
		return nil, fmt.Errorf("no login page: %s", page.Status)
	}
	answer, err := browser.PostForm(address, url.Values{
		"csrf": {html.UnescapeString(csrf[1])}, "name": {w.Person.Name}, "password": {w.Person.Password}, "decision": {"allow"},
	})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return answer.Location()
}
