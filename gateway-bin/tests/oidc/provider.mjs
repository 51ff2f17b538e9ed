// The OpenID provider of the test, with its own login pages: any name is a user.
//
//   node provider.mjs PORT GATEWAY-ORIGIN
//
// Access tokens last five seconds, and each refresh token is accepted once. GET /counts returns how many grants
// were made, by type.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, gateway] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'shop',
    client_secret: 'a secret: with + signs & a %',
    redirect_uris: [`${gateway}/oauth2/callback`],
    post_logout_redirect_uris: [`${gateway}/`],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  cookies: { keys: ['key of the cookies of the provider'] },
  pkce: { required: () => true },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  ttl: { AccessToken: 5, IdToken: 3600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
});
const counts = {};
provider.on('grant.success', (context) => {
  const type = context.oidc.params.grant_type;
  counts[type] = (counts[type] ?? 0) + 1;
});
provider.on('grant.error', (context, error) => console.error(context.oidc?.params?.grant_type, error));
provider.on('server_error', (context, error) => console.error(error));
const pages = provider.callback();
createServer((request, response) => {
  if (request.url !== '/counts') return pages(request, response);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(counts));
}).listen(Number(port), '127.0.0.1');
