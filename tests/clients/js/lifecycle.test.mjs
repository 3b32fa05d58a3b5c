// The AWS SDK for JavaScript v3, unmodified: a key's whole life. Endpoint, region and credentials come from the environment.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import * as kms from "@aws-sdk/client-kms";

const client = new kms.KMSClient({});
const CONTEXT = { tenant: "7", "aws-crypto-public-key": "ünï/=+" };
const DAY_MS = 86_400_000;
const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);
const call = (command, members) => client.send(new kms[`${command}Command`](members));

async function makeKey(members = {}) {
  return (await call("CreateKey", members)).KeyMetadata;
}

async function everyPage(paginate, members, list) {
  const found = [];
  for await (const page of paginate({ client, pageSize: 2 }, members)) {
    assert.ok(page[list].length <= 2);
    found.push(...page[list]);
  }
  return found;
}

async function refused(kind, command, members, message) {
  await assert.rejects(call(command, members), (error) => {
    assert.ok(error instanceof kms[kind], `${command}: ${error}`);
    assert.ok(error instanceof kms.KMSServiceException);
    assert.equal(error.name, kind);
    assert.equal(error.$fault, "client");
    assert.equal(error.$metadata.httpStatusCode, 400);
    assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
    if (message !== undefined) assert.equal(error.message, message);
    return true;
  });
}

test("a key is made with description, tags and policy, and described as it was made", async () => {
  const { KeyMetadata: first } = await call("CreateKey", {});
  const account = first.AWSAccountId;
  const Policy = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: "kms:*", Resource: "*" }],
  });
  const Tags = [{ TagKey: "team", TagValue: "blue" }, { TagKey: "ünï", TagValue: "" }];
  const made = await makeKey({ Description: "from JavaScript ✓", Policy, Tags, KeySpec: "SYMMETRIC_DEFAULT" });
  assert.equal(made.Description, "from JavaScript ✓");
  assert.ok(made.CreationDate instanceof Date);
  assert.ok(Math.abs(made.CreationDate - Date.now()) < DAY_MS);
  assert.equal(made.KeyState, kms.KeyState.Enabled);
  assert.deepEqual((await call("DescribeKey", { KeyId: made.Arn })).KeyMetadata, made);
  assert.equal((await call("GetKeyPolicy", { KeyId: made.KeyId })).Policy, Policy);
  assert.deepEqual((await call("ListResourceTags", { KeyId: made.KeyId })).Tags.length, 2);
  await call("UpdateKeyDescription", { KeyId: made.KeyId, Description: "" });
  assert.equal((await call("DescribeKey", { KeyId: made.KeyId })).KeyMetadata.Description, "");
});

test("data is encrypted and decrypted under an alias, with a context, and refused with another", async () => {
  const key = await makeKey();
  const AliasName = `alias/javascript/${randomUUID()}`;
  await call("CreateAlias", { AliasName, TargetKeyId: key.KeyId });
  const { CiphertextBlob } = await call("Encrypt", { KeyId: AliasName, Plaintext: bytes("secret"), EncryptionContext: CONTEXT });
  const opened = await call("Decrypt", { CiphertextBlob, EncryptionContext: CONTEXT });
  assert.equal(text(opened.Plaintext), "secret");
  assert.equal(opened.KeyId, key.Arn);
  await refused("InvalidCiphertextException", "Decrypt", { CiphertextBlob });
  const other = await makeKey();
  await refused("IncorrectKeyException", "Decrypt", { CiphertextBlob, EncryptionContext: CONTEXT, KeyId: other.Arn });
  await call("UpdateAlias", { AliasName, TargetKeyId: other.KeyId });
  assert.equal((await call("DescribeKey", { KeyId: AliasName })).KeyMetadata.Arn, other.Arn);
  const moved = await call("ReEncrypt", {
    CiphertextBlob, SourceEncryptionContext: CONTEXT, DestinationKeyId: AliasName, DestinationEncryptionContext: {},
  });
  assert.equal(text((await call("Decrypt", { CiphertextBlob: moved.CiphertextBlob })).Plaintext), "secret");
  await call("DeleteAlias", { AliasName });
  await refused("NotFoundException", "DescribeKey", { KeyId: AliasName });
});

test("data keys unwrap to themselves", async () => {
  const { KeyId } = await makeKey();
  const made = await call("GenerateDataKey", { KeyId, KeySpec: "AES_256", EncryptionContext: CONTEXT });
  assert.equal(made.Plaintext.length, 32);
  const opened = await call("Decrypt", { CiphertextBlob: made.CiphertextBlob, EncryptionContext: CONTEXT });
  assert.deepEqual(opened.Plaintext, made.Plaintext);
  const sealed = await call("GenerateDataKeyWithoutPlaintext", { KeyId, NumberOfBytes: 24 });
  assert.equal(sealed.Plaintext, undefined);
  assert.equal((await call("Decrypt", { CiphertextBlob: sealed.CiphertextBlob })).Plaintext.length, 24);
  assert.equal((await call("GenerateRandom", { NumberOfBytes: 48 })).Plaintext.length, 48);
});

test("rotation is switched on with a period, done on demand, listed and switched off", async () => {
  const { KeyId, Arn, CurrentKeyMaterialId } = await makeKey();
  const { CiphertextBlob } = await call("Encrypt", { KeyId, Plaintext: bytes("before") });
  assert.equal((await call("GetKeyRotationStatus", { KeyId })).KeyRotationEnabled, false);
  await call("EnableKeyRotation", { KeyId, RotationPeriodInDays: 90 });
  const status = await call("GetKeyRotationStatus", { KeyId });
  assert.equal(status.KeyRotationEnabled, true);
  assert.equal(status.RotationPeriodInDays, 90);
  assert.ok(Math.abs(status.NextRotationDate - Date.now() - 90 * DAY_MS) < DAY_MS);
  for (let count = 0; count < 3; count += 1) assert.equal((await call("RotateKeyOnDemand", { KeyId })).KeyId, Arn);
  const rotations = await everyPage(kms.paginateListKeyRotations, { KeyId }, "Rotations");
  assert.deepEqual(rotations.map((rotation) => rotation.RotationType), ["ON_DEMAND", "ON_DEMAND", "ON_DEMAND"]);
  assert.ok(rotations.every((rotation) => rotation.RotationDate instanceof Date));
  const whole = await everyPage(kms.paginateListKeyRotations, { KeyId, IncludeKeyMaterial: "ALL_KEY_MATERIAL" }, "Rotations");
  assert.equal(whole[0].KeyMaterialId, CurrentKeyMaterialId);
  const opened = await call("Decrypt", { CiphertextBlob });
  assert.equal(text(opened.Plaintext), "before");
  assert.equal(opened.KeyMaterialId, CurrentKeyMaterialId);
  const described = (await call("DescribeKey", { KeyId })).KeyMetadata;
  assert.equal(described.CurrentKeyMaterialId, whole.at(-1).KeyMaterialId);
  await call("DisableKeyRotation", { KeyId });
  const off = await call("GetKeyRotationStatus", { KeyId });
  assert.equal(off.KeyRotationEnabled, false);
  assert.equal(off.RotationPeriodInDays, undefined);
  const usage = await call("GetKeyLastUsage", { KeyId });
  assert.equal(usage.KeyLastUsage.Operation, "Decrypt");
});

test("tags are added, changed, removed and paged through", async () => {
  const { KeyId } = await makeKey();
  const Tags = [1, 2, 3, 4, 5].map((number) => ({ TagKey: `key-${number}`, TagValue: `${number}` }));
  await call("TagResource", { KeyId, Tags });
  await call("TagResource", { KeyId, Tags: [{ TagKey: "key-1", TagValue: "changed" }] });
  await call("UntagResource", { KeyId, TagKeys: ["key-5", "never-there"] });
  const found = await everyPage(kms.paginateListResourceTags, { KeyId }, "Tags");
  assert.equal(found.length, 4);
  assert.deepEqual(
    Object.fromEntries(found.map((tag) => [tag.TagKey, tag.TagValue])),
    { "key-1": "changed", "key-2": "2", "key-3": "3", "key-4": "4" },
  );
  await refused("TagException", "TagResource", { KeyId, Tags: [{ TagKey: "aws:mine", TagValue: "" }] });
  const many = Array.from({ length: 51 }, (_, number) => ({ TagKey: `${number}`, TagValue: "" }));
  await refused("TagException", "TagResource", { KeyId, Tags: many });
});

test("a key policy is put and read back as it was written, and one that is none is refused", async () => {
  const { KeyId, AWSAccountId } = await makeKey();
  const { Policy: before } = await call("GetKeyPolicy", { KeyId, PolicyName: "default" });
  const Policy = `{ "Version": "2012-10-17",\n  "Statement": [ {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::${AWSAccountId}:root"},"Action":"kms:*","Resource":"*"} ] }`;
  assert.notEqual(before, Policy);
  await call("PutKeyPolicy", { KeyId, PolicyName: "default", Policy });
  const read = await call("GetKeyPolicy", { KeyId });
  assert.equal(read.Policy, Policy);
  assert.equal(read.PolicyName, "default");
  await refused("MalformedPolicyDocumentException", "PutKeyPolicy", { KeyId, Policy: "{}" });
  assert.equal((await call("GetKeyPolicy", { KeyId })).Policy, Policy);
  assert.deepEqual(await everyPage(kms.paginateListKeyPolicies, { KeyId }, "PolicyNames"), ["default"]);
});

test("a disabled key is refused by its typed exception until it is enabled", async () => {
  const { KeyId, Arn } = await makeKey();
  await call("DisableKey", { KeyId });
  await refused("DisabledException", "GenerateDataKey", { KeyId, KeySpec: "AES_128" }, `${Arn} is disabled.`);
  await refused("DisabledException", "EnableKeyRotation", { KeyId }, `${Arn} is disabled.`);
  await call("EnableKey", { KeyId });
  assert.equal((await call("GenerateDataKey", { KeyId, KeySpec: "AES_128" })).Plaintext.length, 16);
});

test("a deletion is scheduled, blocks the key, and is cancelled", async () => {
  const { KeyId, Arn } = await makeKey();
  const scheduled = await call("ScheduleKeyDeletion", { KeyId, PendingWindowInDays: 7 });
  assert.equal(scheduled.KeyState, "PendingDeletion");
  assert.ok(Math.abs(scheduled.DeletionDate - Date.now() - 7 * DAY_MS) < DAY_MS);
  const described = (await call("DescribeKey", { KeyId })).KeyMetadata;
  assert.equal(+described.DeletionDate, +scheduled.DeletionDate);
  await refused("KMSInvalidStateException", "Encrypt", { KeyId, Plaintext: bytes("x") }, `${Arn} is pending deletion.`);
  await refused("KMSInvalidStateException", "ScheduleKeyDeletion", { KeyId }, `${Arn} is pending deletion.`);
  assert.equal((await call("CancelKeyDeletion", { KeyId })).KeyId, Arn);
  assert.equal((await call("DescribeKey", { KeyId })).KeyMetadata.KeyState, "Disabled");
  await refused("KMSInvalidStateException", "CancelKeyDeletion", { KeyId }, `${Arn} is not pending deletion.`);
  await call("EnableKey", { KeyId });
});

test("keys and aliases are listed by the paginators, each once", async () => {
  const { KeyId } = await makeKey();
  const keys = (await everyPage(kms.paginateListKeys, {}, "Keys")).map((key) => key.KeyId);
  assert.equal(new Set(keys).size, keys.length);
  assert.ok(keys.includes(KeyId));
  const names = [1, 2, 3].map((number) => `alias/javascript/${KeyId}/${number}`);
  for (const AliasName of names) await call("CreateAlias", { AliasName, TargetKeyId: KeyId });
  const aliases = await everyPage(kms.paginateListAliases, { KeyId }, "Aliases");
  assert.deepEqual(aliases.map((alias) => alias.AliasName).sort(), names);
  assert.deepEqual(await everyPage(kms.paginateListGrants, { KeyId }, "Grants"), []);
  await refused("AlreadyExistsException", "CreateAlias", { AliasName: names[0], TargetKeyId: KeyId });
});

test("what does not exist is not found, by every kind of name", async () => {
  const { Arn } = await makeKey();
  const nowhere = randomUUID();
  const prefix = Arn.slice(0, Arn.lastIndexOf("/") + 1);
  await refused("NotFoundException", "DescribeKey", { KeyId: `${prefix}${nowhere}` }, `Key '${prefix}${nowhere}' does not exist`);
  await refused("NotFoundException", "GetKeyPolicy", { KeyId: nowhere });
  await refused("InvalidMarkerException", "ListKeys", { Marker: "no marker" });
  await assert.rejects(call("ScheduleKeyDeletion", { KeyId: nowhere, PendingWindowInDays: 6 }), { name: "ValidationException" });
});

test("the aggregated client calls by method name", async () => {
  const aggregated = new kms.KMS({});
  const { KeyMetadata } = await aggregated.createKey({});
  assert.equal((await aggregated.describeKey({ KeyId: KeyMetadata.KeyId })).KeyMetadata.Arn, KeyMetadata.Arn);
});
