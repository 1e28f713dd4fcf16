"""What the local stack needs from AWS's own client: people who can sign in, and what a deployment made.

Prints one JSON document; the address and the (made-up) credentials come from the environment.
"""

import json
import os
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3

STACK = "batch-logout"
# Only opens the local user pool.
PASSWORD = "Local-only-1"

# Nothing listens there: who signs in stops before it.
CALLBACK = "http://localhost:9/callback"

PEOPLE = {
    "security.admin@example.com": ["security_admin"],
    "system.admin@example.com": ["system_admin"],
    "group.admin@example.com": ["group_admin"],
    "oauth.admin@example.com": ["oauth_admin"],
    "auditor@example.com": ["auditor"],
    "member@example.com": [],
    "관리자.김@example.com": ["security_admin"],
}


def identity():
    """Makes the user pool, its app client and its people; answers what an OIDC client has to know."""
    cognito = boto3.client("cognito-idp")
    pool = cognito.create_user_pool(
        PoolName=STACK, UsernameAttributes=["email"], AutoVerifiedAttributes=["email"]
    )["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool,
        ClientName="local",
        ExplicitAuthFlows=[
            "ALLOW_ADMIN_USER_PASSWORD_AUTH",
            "ALLOW_USER_PASSWORD_AUTH",
            "ALLOW_REFRESH_TOKEN_AUTH",
        ],
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthFlows=["code"],
        AllowedOAuthScopes=["openid", "email", "profile"],
        CallbackURLs=[CALLBACK],
        SupportedIdentityProviders=["COGNITO"],
    )["UserPoolClient"]["ClientId"]
    for role in sorted({role for roles in PEOPLE.values() for role in roles}):
        cognito.create_group(UserPoolId=pool, GroupName=role)

    users = []
    for email, roles in PEOPLE.items():
        created = cognito.admin_create_user(
            UserPoolId=pool,
            Username=email,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
        )["User"]
        cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=PASSWORD, Permanent=True)
        for role in roles:
            cognito.admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=role)
        sub = next(a["Value"] for a in created["Attributes"] if a["Name"] == "sub")
        users.append({"id": sub, "email": email, "roles": roles, "password": PASSWORD})

    base = f"{os.environ['AWS_ENDPOINT_URL']}/{pool}/.well-known"
    # The pool's keys come into being with the first look at them.
    urllib.request.urlopen(f"{base}/jwks.json").read()
    with urllib.request.urlopen(f"{base}/openid-configuration") as discovery:
        discovered = json.load(discovery)
    endpoints = ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "revocation_endpoint"]
    return {
        "issuer": discovered["issuer"],
        "jwks_uri": f"{base}/jwks.json",
        **{endpoint: discovered[endpoint] for endpoint in endpoints},
        "client_id": client,
        "redirect_uri": CALLBACK,
        "user_pool_id": pool,
        "users": users,
    }


def bucket():
    """A bucket for the packages, so that `sam deploy` need not make a stack of its own for one."""
    boto3.client("s3").create_bucket(Bucket=STACK)
    return {"bucket": STACK}


def package(folder):
    """Zips each function's folder, quickly: SAM would take its time to make them small, for a way of no length."""
    functions = [path.parent for path in Path(folder).glob("*/bootstrap")]

    def pack(function):
        with zipfile.ZipFile(f"{function}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
            package.write(function / "bootstrap", "bootstrap")
        return function.name

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return sorted(threads.map(pack, functions))


def outputs(stack):
    """A deployed stack's outputs."""
    stacks = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    adopt_gateway_responses(stack)
    adopt_object_locks(stack)
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}


def adopt_gateway_responses(stack):
    """Puts the template's gateway responses through the API: the local AWS does not read them from the API's body."""
    cloudformation, apigateway = boto3.client("cloudformation"), boto3.client("apigateway")
    template = cloudformation.get_template(StackName=stack, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(template) if isinstance(template, str) else template
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::ApiGateway::RestApi":
            continue
        api = cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=name)
        api = api["StackResourceDetail"]["PhysicalResourceId"]
        stages = apigateway.get_stages(restApiId=api)["item"]
        responses = resource["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
        for kind, response in responses.items():
            apigateway.put_gateway_response(
                restApiId=api,
                responseType=kind,
                statusCode=str(response["statusCode"]),
                responseParameters=response["responseParameters"],
                responseTemplates=response["responseTemplates"],
            )
        deployment = apigateway.create_deployment(restApiId=api)["id"]
        for stage in stages:
            apigateway.update_stage(
                restApiId=api,
                stageName=stage["stageName"],
                patchOperations=[{"op": "replace", "path": "/deploymentId", "value": deployment}],
            )


def adopt_object_locks(stack):
    """Locks buckets as the template says: the local AWS makes them without."""
    cloudformation, s3 = boto3.client("cloudformation"), boto3.client("s3")
    template = cloudformation.get_template(StackName=stack, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(template) if isinstance(template, str) else template
    for name, resource in template["Resources"].items():
        lock = resource.get("Properties", {}).get("ObjectLockConfiguration")
        if resource["Type"] == "AWS::S3::Bucket" and lock:
            bucket = cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=name)
            bucket = bucket["StackResourceDetail"]["PhysicalResourceId"]
            retention = {**lock["Rule"]["DefaultRetention"], "Days": 1}
            s3.put_object_lock_configuration(
                Bucket=bucket,
                ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
            )


if __name__ == "__main__":
    actions = {"identity": identity, "bucket": bucket, "package": package, "outputs": outputs}
    action, *arguments = sys.argv[1:]
    json.dump(actions[action](*arguments), sys.stdout, ensure_ascii=False)
