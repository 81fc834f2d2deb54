// oidc-provider as it is measured beside edi: client credentials, an ES256 JWT for a resource, as many processes as the
// first argument says behind one port. Prints that port and the processes' ids, and ends with its standard input.
import cluster from 'node:cluster';
import { generateKeyPairSync } from 'node:crypto';

const { PEER_ID: id, PEER_SECRET: secret } = process.env;
const scope = 'fraud';
const audience = 'https://models.example';

if (cluster.isPrimary) {
  const count = Number(process.argv[2] ?? 1);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' };
  const workers = Array.from({ length: count }, () => cluster.fork({ PEER_KEY: JSON.stringify(key) }));
  let waiting = count;
  cluster.on('listening', (_, address) => {
    waiting -= 1;
    if (waiting === 0) {
      console.log(JSON.stringify({ port: address.port, pids: [process.pid, ...workers.map((it) => it.process.pid)] }));
    }
  });
  cluster.on('exit', () => process.exit(1));
  process.stdin.resume().on('end', () => process.exit(0)).on('close', () => process.exit(0));
} else {
  const { default: Provider } = await import('oidc-provider');
  const provider = new Provider('http://127.0.0.1', {
    jwks: { keys: [JSON.parse(process.env.PEER_KEY)] },
    clients: [{
      client_id: id,
      client_secret: secret,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: 'ES256',
      scope,
    }],
    scopes: [scope],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope,
          audience,
          accessTokenTTL: 900,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  // The primary lends all of them the same port.
  provider.listen(0, '127.0.0.1');
}
