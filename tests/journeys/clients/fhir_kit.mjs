// A referral sent and followed with fhir-kit-client; what was seen is printed as JSON.
import { Client } from 'fhir-kit-client';
import { readFileSync } from 'node:fs';

const client = new Client({
  baseUrl: process.argv[2],
  customHeaders: { 'X-Partner': 'river-clinic' },
});
const bundle = JSON.parse(readFileSync(0, 'utf8'));
const seen = {};

seen.fhirVersion = (await client.capabilityStatement()).fhirVersion;

const answer = await client.transaction({ body: bundle });
const locations = answer.entry.map((entry) => entry.response.location);
const taskId = locations.find((place) => place.startsWith('Task/')).split('/')[1];
const found = await client.resourceSearch({
  resourceType: 'Task',
  searchParams: { _id: taskId, _include: 'Task:focus' },
});
seen.found = found.entry.map((entry) => entry.resource.resourceType);
seen.versions = (await client.resourceHistory({ resourceType: 'Task', id: taskId })).entry.length;

const mrn = (value) => ({
  resourceType: 'Patient',
  identifier: [{ system: 'https://clinic.example/mrn', value }],
  name: [{ family: 'Kitwell', given: ['Test'] }],
  birthDate: '1980-02-29',
});
const patients = [];
for (const value of ['kit-1', 'kit-2', 'kit-3']) {
  patients.push(await client.create({ resourceType: 'Patient', body: mrn(value) }));
}
const patched = await client.patch({
  resourceType: 'Patient',
  id: patients[0].id,
  jsonPatch: [{ op: 'replace', path: '/birthDate', value: '1981-01-01' }],
});
seen.patched = patched.birthDate;

try {
  await client.create({ resourceType: 'Patient', body: { ...mrn('kit-4'), gender: 'unheard-of' } });
} catch (error) {
  seen.refused = error.response.status;
}

let page = await client.resourceSearch({
  resourceType: 'Patient',
  searchParams: { family: 'Kitwell', _count: '2' },
});
seen.pages = [page.entry.length];
page = await client.nextPage({ bundle: page });
seen.pages.push(page.entry.length);

console.log(JSON.stringify(seen));
