// Usage: node check-asyncapi.js asyncapi.yaml EXAMPLES. Called by check-asyncapi.sh.
'use strict';
const fs = require('fs');
const path = require('path');
const { Parser } = require('@asyncapi/parser');
const Ajv = require('ajv').default;
const formats = require('ajv-formats');

// Each example is of the schema that its name begins with.
const schemas = {
  state: 'State', offline: 'Offline', progress: 'Progress', event: 'Event', result: 'Result', command: 'Command', signed: 'SignedCommand', deed: 'Deed',
};

async function main(file, examples) {
  const { document, diagnostics } = await new Parser().parse(fs.readFileSync(file, 'utf8'));
  const faults = diagnostics.filter((d) => d.severity <= 1); // errors and warnings
  for (const d of faults) console.error(`${file}:${d.range.start.line + 1}: ${d.message}`);
  if (!document || faults.length) return 1;

  const ajv = new Ajv({ strict: false, allErrors: true });
  formats(ajv);
  ajv.addSchema({ $id: 'contract', components: { schemas: document.json().components.schemas } });
  let bad = 0;
  const names = fs.readdirSync(examples).filter((n) => n.endsWith('.json'));
  for (const name of names) {
    const schema = schemas[name.split(/[.-]/)[0]];
    const valid = schema && ajv.getSchema(`contract#/components/schemas/${schema}`);
    const data = JSON.parse(fs.readFileSync(path.join(examples, name), 'utf8'));
    if (!valid || !valid(data)) {
      bad++;
      console.error(`${name}: ${valid ? ajv.errorsText(valid.errors) : 'no schema for it'}`);
    }
  }
  if (!bad) console.log(`${file} and ${names.length} examples are valid`);
  return bad ? 1 : 0;
}

main(process.argv[2], process.argv[3]).then((code) => process.exit(code), (err) => { console.error(err); process.exit(1); });
