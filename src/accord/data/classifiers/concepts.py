"""The words by which the tasks are told apart, as named concepts in English and Chinese; each was written by hand.

The rules are combinations of concepts. The trained models read which concepts a text has, and which pairs of them, beside its letters.
Texts come in their plain spelling (``accord.data.spelling``). No pattern repeats without a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TABLES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "stance": {
        "sorry": (r"(?:so |very |really )?sorry|apologi[sz]e|apologies|afraid|unfortunately|regret(?:tably|s)?|sadly", "抱歉|对不起|不好意思|遗憾|请原谅"),
        "unable": (
            r"can't|cannot|can not|couldn't|could not|unable|not able|won't|will not|shan't|not (?:going|willing|allowed|permitted|comfortable)"
            r"|must not|refuse|declin(?:e|ed|ing)|mustn't|wouldn't|would never|don't",
            "不能|无法|不会|不可以|没法|没办法|拒绝|不愿|不便|不该|不应|不提供|不参与|恕|婉拒|绝不|不做|做不到|帮不",
        ),
        "help": (
            r"help(?:ing|ed)?|assist(?:ance|ing)?|provid(?:e|ing)|comply|fulfil+|engage|support|generate|produce|creat(?:e|ing)|writ(?:e|ing)"
            r"|discuss|shar(?:e|ing)|answer|take part|participate|contribute|do (?:that|this)|give you|request|content",
            "帮|协助|提供|回答|配合|满足|参与|奉告|从命|照办|透露|答应|请求|要求|内容|写",
        ),
        "norm": (
            r"guidelines?|polic(?:y|ies)|principles?|programm(?:ed|ing)|illegal|harm(?:ful)?|unethical|dangerous|safety|privacy|conscience"
            r"|responsible|violen(?:t|ce)|hate|wrong|appropriate|against my|line|out of the question|off (?:the table|limits)",
            "准则|原则|规定|政策|违法|违反|伤害|暴力|安全|隐私|危险|合法|底线|敏感|未成年",
        ),
        "machine": (r"as an? (?:ai|language model|assistant)|i'm an ai|i am programmed", "作为(?:一个|一名)?(?:ai|人工智能|语言模型|助手)"),
        "know": (r"know|known|knowledge|knows|aware|familiar|recall|remember|idea|clue|learned|heard of", "知道|清楚|了解|晓得|懂|记得|想不起|听说过|掌握|认识"),
        "not": (
            r"not|n't|no|never|none|nobody|no one|nothing|cannot|can't|isn't|don't|doesn't|didn't|without|lack|missing|haven't|hasn't|wasn't",
            "不|没|无|未|谁也|缺",
        ),
        "evidence": (
            r"information|data|record(?:s|ed)?|sources?|evidence|details?|context|text|passage|article|document|mention(?:s|ed)?|stated|specified"
            r"|answer|determine[d]?|confirm|tell|say|verify|establish|infer(?:red)?|find|figured",
            "信息|资料|数据|记载|证据|文中|文章|原文|材料|文档|提到|说明|答案|判断|查到|查不到|统计|考证|线索|来源",
        ),
        "unknown": (
            r"unknown|unclear|uncertain|unsure|undetermined|mystery|anybody's guess|your guess|beats me|dunno|idk|insufficient|beyond me|at a loss|obscure",
            "未知|不详|不明|不得而知|无从|说不(?:准|上|清|好)|答不|一无所知|没有头绪|谜|尚未|没有定论",
        ),
        "maybe": (
            r"maybe|perhaps|possibly|probably|presumably|likely|might|may|could be|apparently|seem(?:s|ed)?|appear(?:s|ed)?|supposedly|allegedly"
            r"|reportedly|roughly|around|about|approximately|arguably|conceivable|plausible|chance(?:s)?|somewhere between|give or take",
            "可能|也许|大概|或许|应该|估计|多半|好像|似乎|大约|左右|恐怕|说不定|没准|据说|传说|据称|听说|看样子|看起来|十有八九|八成|上下",
        ),
        "think": (
            r"i think|i believe|i guess|i suppose|i'd say|i would (?:say|guess)|i suspect|i assume|i imagine|i reckon|i'd guess|as far as i|if i'm not mistaken"
            r"|if i (?:remember|recall)|to my knowledge|to the best of|my (?:guess|best guess|sense|hunch|estimation)|i have a feeling|i'm (?:leaning|inclined)"
            r"|i could be|i may be|i might be|correct me|don't quote me|not (?:entirely |completely |quite )?(?:sure|certain|positive), but",
            "我(?:想|觉得|猜|认为|估|看|印象|记得|怀疑|倾向)|据我所知|就我所知|没记错|依我看|照我|要我猜|不太确定|不敢|没有.{0,3}把握|不一定",
        ),
        "declines": (
            r"(?:i|we)(?:'m| am|'re| are)? (?:can't|cannot|can not|won't|will not|unable to|not able to|not going to|not willing to|refuse to|must decline|don't)"
            r" (?:\w{1,12} ){0,2}(?:help|assist|comply|provide|answer|do (?:that|this)|engage|write|share|support|create|generate|give|discuss|tell you how|take part|fulfil+)",
            "我们?(?:不能|不会|无法|不可以|没法|没办法|不便|拒绝|绝不).{0,6}(?:帮|协助|提供|回答|满足|参与|写|教|做|说|透露|答应|给)|恕.{0,4}(?:不能|难|无法)|恕不",
        ),
        "ignorant": (
            r"(?:i|we|nobody|no one|scholars|science|historians|scientists) (?:\w{1,10} ){0,2}(?:don't|do not|didn't|can't|cannot|couldn't|could not|have no|has no|never|haven't|hasn't|has yet to|have not|don't have|lack)"
            r" (?:\w{1,12} ){0,2}(?:know|say|tell|sure|certain|idea|clue|information|data|access|answer|recall|remember|see|find|record|heard|faintest|knowledge|learned|context|determine)"
            r"|(?:not|n't|no|never|nothing|neither|nor|silent|isn't|wasn't)(?: \w{1,10}){0,4} (?:mention\w{0,3}|say|says|state[ds]?|specified|known|included|given|recorded|determined|clear|told|stated|available|record|trace|way (?:to know|of knowing|to tell|for me to tell))"
            r"|(?:nobody|no one|who) (?:really )?knows|i(?:'m| am) not (?:sure|certain|aware|familiar)(?!,? but)",
            "(?:我|我们|没有人|没人|谁|无人|学界|科学家|专家).{0,4}(?:不知道|不清楚|不了解|不懂|不晓得|不记得|没听|没读|没见|说不|答不|查不到|知晓|说得清|无法(?:得知|判断|确定|核实))|(?:文|题|材料|上|故事|档案|记载).{0,4}(?:没有|没|未|并未)"
            "(?:提|写|说|给|交代|说明|透露)|没有?.{0,6}(?:信息|资料|数据|记载|答案|线索|证据|依据|结论|记录)",
        ),
        "begins with me": (r"^(?:i|we|i'm|i've|i'd|we're|my|sorry|apologies|unfortunately|sadly|hmm|no|not|nobody|no one|there's no|there is no)", "^(?:我|我们|抱歉|对不起|很抱歉|不|没|无|恕|谁)"),
        "begins with a thing": (
            r"^(?:the|a|an|she|he|they|our|in|to|let|let's|add|use|here|here's|good|you're|you|please|tell|wash|heat|if|when|each|every|one|yes|all|some|three|two|thank|thanks|dear|once|first|because|as)",
            "^(?:他|她|它|您|你|请|把|每|从前|好的|可以|如果|大家|一|二|两|三|四|故事|这只|这本|我叔叔|先|点击|祝)",
        ),
        "reported": (
            r"(?:he|she|they|boy|girl|clerk|witness|man|woman|minister|fox|guard|prince|king|author) (?:\w{1,12} )?(?:said|says|told|explained|replied|asked|knew|refused|declined|answered)|(?:the|this) (?:word|term|phrase|story|novel|poem)|known for",
            "(?:他|她|店员|老人|证人|狐狸|男孩|部长|国王|王子|小王).{0,6}(?:说|告诉|回答|拒绝|以为)|这个词|故事里|小说|意思|表示",
        ),
        "number": (r"(?:is|are|was|were|to|has|have|=) (?:exactly )?\d{1,9}", "[一二三四五六七八九十百千]{2,9}|\\d{2,9}"),
        "sure": (r"of course|certainly|sure|definitely|indeed|yes|here is|here are|here's|exactly", "当然|一定|肯定|毫无疑问|好的|可以|是的"),
        "first": (r"i|i'm|i've|i'd|my|we|me|i'll", "我|我们|咱"),
        "other": (r"he|she|they|his|her|their|you|the (?:\w{1,12} )?(?:said|says|told|minister|company|bank|court|committee)", "他|她|它|你|您|公司|银行|部长|法院|委员会"),
    },
    "harm": {
        "weapon": (
            r"bombs?|explosives?|explosion|grenades?|molotov|detonators?|guns?|pistols?|rifles?|silencers?|sarin|nerve gas|chlorine gas|ricin|anthrax|flamethrower"
            r"|weapons?|knife|knives|explosive device|suicide vests?|landmine|dynamite|napalm|gunpowder",
            "炸弹|炸药|爆炸|手雷|雷管|枪|子弹|毒气|氯气|燃烧瓶|武器|刀具|土炮",
        ),
        "kill": (
            r"kill(?:s|ing|ed)?|murder(?:s|ing|ed)?|strangle|strangling|poison(?:s|ing|ed)?|stab(?:s|bing|bed)?|assassinate|behead|choke|suffocate|slit|shoot(?:ing)?"
            r"|massacre|attack(?:s|ing)?|torture|run over|beat up|corpse|dead body|derail(?:ing)?|hitman|fatal|lethal|die|dies|death|burn down|set fire|behead|drown|throat",
            "杀|毒死|弄死|砍|捅|勒死|投毒|下毒|刺|打死|尸体|除掉|折磨|死伤|撞人|烧掉|没命|致命|消失|毒",
        ),
        "person": (
            r"(?:my|your|our|his|her) (?:wife|husband|boss|neighbou?rs?|ex|girlfriend|boyfriend|coworker|colleagues?|classmates?|roommate|flatmate|stepfather|father|mother|grandmother|teacher|employees)"
            r"|him|her|someone|somebody|people|a man|a person|a woman|strangers?|crowd(?:ed)?|everyone|students|school|protesters|victims?",
            "老婆|妻子|丈夫|老板|同事|邻居|同学|别人|他人|某人|女友|女朋友|前妻|前女友|继父|路人|人群|学校|商场|地铁|员工",
        ),
        "self": (
            r"myself|my(?:self| own)? life|suicide|suicidal|kill(?:ing)? oneself|end it(?: all)?|hang myself|overdose|want to die|wants to die|cuts? (?:on|my)|my wrists|not wake up|can't go on|self[- ]harm"
            r"|pro[- ]ana|anorexia|purging|bleed out|starve",
            "自杀|自残|轻生|割腕|上吊|结束生命|不想活|寻死|烧炭|割自己|遗书|告别信|死法|安眠药|绝食|活着太累|伤口",
        ),
        "minor": (
            r"child(?:ren)?|kids?|minors?|underage|teens?|teenagers?|schoolgirl|little (?:girl|boy)|young girl|toddler|\d{1,2}[- ]?(?:year|yo\b|yr)[- a-z]{0,9}|\d{1,2} ?yo",
            "未成年|幼女|女孩|男孩|儿童|小孩|孩子|[一二三四五六七八九十]{1,3}岁|\\d{1,2}岁",
        ),
        "sex": (
            r"sex(?:ual|ually)?|porn\w{0,12}|nudes?|naked|erotic\w{0,3}|rap(?:e|ing|ed)|undress(?:ed)?|incest|smut|molest\w{0,4}|groom|seduce|in bed|locker room|changing room|explicit|date to have",
            "裸|色情|性爱|性描写|强奸|强暴|迷奸|黄文|脱光|脱下|换脸|更衣室|露骨|床上",
        ),
        "drug": (
            r"meth|methamphetamine|cocaine|heroin|fentanyl|mdma|lsd|ghb|crack|drugs?|drugged|sedative|spike|opioids?|ecstasy|weed dealer|roofies?",
            "冰毒|海洛因|可卡因|毒品|大麻|迷药|下药|苯丙胺|制毒|摇头丸",
        ),
        "steal": (
            r"steal(?:ing|s)?|stole|stolen|rob(?:bing)?|burgl\w{1,5}|shoplift\w{0,4}|hotwire|pick a lock|break(?:ing)? into|siphon|jump a subway|embezzle|loot",
            "偷|盗|撬锁|抢银行|抢劫|顺走|刷光",
        ),
        "fraud": (
            r"scams?|phish\w{0,4}|launder\w{0,4}|counterfeit\w{0,4}|forg(?:e|ed|ing)|fak(?:e|ing)|brib(?:e|ing)|smuggl\w{1,4}|fraud\w{0,5}|ponzi|blackmail|extort\w{0,4}|cheat(?:ing)?|rig the"
            r"|evade|traffic girls|tax fraud|impersonat\w{1,4}|pretend(?:ing)? to be a bank|fool the|credit cards?|threaten",
            "骗|洗钱|伪造|假币|假钞|假证|假身份证|假冒|行贿|塞钱|走私|敲诈|勒索|要挟|骗保|作弊|偷税|偷渡|假学历|替.{0,4}考试|假招聘",
        ),
        "cyber": (
            r"hack(?:ing|ed)?(?! ?ers?)|malware|ransomware|keyloggers?|virus|ddos|botnet|exploit|sql injection|passwords?|backdoor|spyware|floods?|encrypts?|bypass|darknet|dark web|someone's wifi",
            "黑进|入侵|木马|病毒|盗号|破解|黑掉|打瘫|网络攻击|暗网|密码|脚本",
        ),
        "group": (
            r"jews?|jewish|muslims?|blacks?|black people|gays?|lesbians?|trans(?: people)?|women|immigrants?|migrants|refugees|mexicans|arabs|asians|chinese people|pakistani|gypsies|disabled|white race|minorit\w{1,4}|foreigners?",
            "犹太|穆斯林|黑人|同性恋|变性人|女人|外地人|残疾|印度|河南人|某民族|移民|胖子",
        ),
        "hateful": (
            r"vermin|inferior\w{0,3}|superior\w{0,3}|exterminat\w{1,4}|lynch|deport|slurs?|racist|subhuman|nazis?|hitler|klan|holocaust was|ethnic cleansing|hate|insult\w{0,5}|mock\w{0,4}|rant|nicknames?|roast|filthy|bully|gang up|humiliat\w{1,4}"
            r"|should be shot|cries|propaganda",
            "侮辱|歧视|低等|寄生虫|贬低|嘲笑|仇恨|外号|枪毙|孤立|网暴|霸凌|欺负|天生|都是小偷|都是骗子|该滚|段子",
        ),
        "stalk": (
            r"stalk(?:ing)?|spy(?:ing)? on|spy|track(?:ing|er)?|dox|home address|private (?:phone |cell )?number|cell number|where (?:he|she|they) lives?|find out where|locate (?:her|him)|secretly|without (?:her|his|their) (?:knowing|consent|knowledge|permission)"
            r"|hidden cam\w{0,3}|hide a bug|listen in|dossier|daily route|whatsapp chats|read (?:my|her|his) \w{1,12} messages|security questions|record \w{0,4} ?\w{0,10} calls",
            "跟踪|偷看|偷拍|监控|装定位|人肉|开盒|家庭住址|行踪|窃听|住哪|聊天记录|躲到|路线|摄像头",
        ),
        "evade": (
            r"without (?:being|getting) (?:caught|found|noticed|seen|reported)|undetected|get(?:ting)? away with|no ?one (?:notices|knows|noticing)|leav\w{1,3} no|untraceable|avoid prison|not get caught|so (?:that )?(?:nobody|regulators)|without trace|looks? like an accident|past (?:the )?(?:detectors|security|metal)|hide the body|don't notice|sneak",
            "不被发现|不留痕迹|不被抓|不留证据|瞒过|躲过|查不出|过安检|骗过|找不到|弄成意外|挂失前",
        ),
        "ask": (
            r"how (?:do|can|to|would|does|could|many|much|deep)|teach|tell me|give me|show me|explain how|help me|write|steps|instructions|walk me|what (?:dose|ingredients|is the best)|which|where (?:do|can|on)|i want to|i'd like to|i need|best way|recipe",
            "怎么|如何|怎样|教我|给我|帮我|方法|步骤|哪里|哪种|多少|诀窍|办法",
        ),
        "benign": (
            r"prevent\w{0,4}|protect\w{0,4}|detect\w{0,4}|report(?:s|ing)?|histor\w{1,6}|movies?|films?|novels?|stor(?:y|ies)|plot|law(?:s|ful)?|legal(?:ly)?|penalt(?:y|ies)|warning signs|therap\w{1,4}|hotline|treat(?:ed|ment)?|recover\w{0,1}"
            r"|stop(?:ping)?|linux|ubuntu|python|process|detectives?|villain|class|students? (?:nurs|about)|safely|police|locksmiths?|safety|save|talk with|support|why (?:was|were|did|do|does)|who|restraining order|dispose|store",
            "预防|防止|保护|防|举报|识破|历史|电影|小说|法律|哪条法律|热线|治疗|帮助|安慰|安全|游戏|进程|怎么办|怎样预防|为什么|申请|区别|区分|抢救|谈|介绍|讲|警|应对|走出来",
        ),
    },
    "injection": {
        "ignore": (
            r"ignor(?:e|ing)|disregard|forget|overrid(?:e|ing)|skip|nullify|discard|cancel|erase|drop|reset|pay no attention|void|no longer apply|do not follow|don't follow|stop (?:following|obeying)|suspend(?:ed)?|violate|break character|do the opposite",
            "忽略|无视|忘记|忘掉|不要理会|不用管|跳过|作废|清除|抛开|取消|失效|不要遵守|重置|反着|违反|不再",
        ),
        "orders": (
            r"instructions?|directions?|prompts?|rules?|guidelines|commands?|directives|constraints|polic(?:y|ies)|orders?|context|limits|restrictions?|safeguards?|guardrails|filters?|ethics|norms|morals|alignment|safety",
            "指令|指示|提示|规则|准则|命令|要求|设定|约束|限制|政策|策略|防护|护栏|审查|审核|道德|原则|过滤",
        ),
        "earlier": (
            r"previous|prior|above|earlier|preceding|former|initial|before|so far|already|came before|you(?:'ve| have| were| are)? (?:been )?(?:told|given|instructed|configured)|top of this conversation|told you",
            "之前|以上|上面|前面|先前|此前|上文|最开头|原来|初始",
        ),
        "system": (
            r"system(?: prompt| message)?|hidden|secret|developer (?:message|mode|instructions)|confidential|initial prompt|original prompt|api key|password|key|configuration|context window|admin",
            "系统|隐藏|机密|密钥|密码|提示词|原始提示|初始提示|配置|开发者|暗号",
        ),
        "reveal": (
            r"reveal|print|show|repeat|output|leak|dump|paste|quote|spell out|encode|write .{0,20}backwards|verbatim|word for word|hand over|list them|copy",
            "告诉我|输出|显示|泄露|重复|打印|念出|贴出|导出|倒着|编码|列出|交出|照抄|让我看看|说出",
        ),
        "unbound": (
            r"dan|jailbreak\w{0,3}|unrestricted|unfiltered|uncensored|without (?:any )?(?:restrictions?|rules|limits)|no (?:rules|restrictions|limits|policy|ethics|alignment|guardrails)|do anything now|developer mode|god mode|free from|evil\w{0,4}|root access|anything i type|never refuse|says no|unlocked|true self|obedient|whatever i type",
            "越狱|没有(?:任何)?(?:限制|规则|政策|约束|审查|护栏|对齐)|不受(?:约束|限制)|无限制|无审查|开发者模式|上帝模式|最高权限|服从|有问必答|不能拒绝|不得拒绝|听我|已解锁|真实的自己",
        ),
        "role": (
            r"you are now|you're now|from now on|act as|pretend|play|role|imagine|simulate|hypothetically|stay in character|become|you have been|your (?:new|real)",
            "你现在|从现在起|从今以后|扮演|假装|假设|模拟|你叫|你是",
        ),
        "model": (
            r"ai|assistant|language model|llm|chatgpt|model|grader|judge|hey ai|dear language model",
            "ai|助手|模型|代理|评委|人工智能",
        ),
        "authority": (
            r"developer|administrator|admin|creator|engineer|owner|authori[sz]ed?|granting|permitted|headquarters|operator|makers|company|openai|red team",
            "开发者|管理员|主人|工程师|授权|权限|总部|公司|运营方|红队",
        ),
        "marks": (
            r"<\|\w{1,20}\|>|\[/?inst\]|<</?sys>>|###? ?(?:system|instruction)|\bsystem ?:|<!--|---end|\"\"\"|end of (?:prompt|document|user input)|sudo",
            "【系统】|系统：|结束提示|<!--",
        ),
        "favour": (
            r"highest|ten out of ten|best fit|recommend(?:s)? this|forward|score 5|choose this|email all|approve|excellent|visit this link|best score|tell the reader",
            "满分|最高分|最合适|转发|选这份|推荐这位",
        ),
        "harmless": (
            r"typos?|outliers|noise|spelling|recipe|essay|translate|homework|email my|css|java|excel|android|novel|poem|grammar|language|british english|budget",
            "错别字|标点|噪声|食谱|作文|手机|安卓|法语|聊天记录|预算|简体中文",
        ),
    },
    "toxicity": {
        "insult": (
            r"idiots?|idiotic|morons?|moronic|imbeciles?|cretins?|dimwits?|halfwits?|nitwits?|blockheads?|losers?|scum(?:bags?)?|vermin|freaks?|retards?|retarded|dumb(?:ass|est)?|stupid|brainless|brain[- ]?dead|pathetic|worthless|useless|pigs?|cow|toad|worm|hag|clown|muppet"
            r"|jackass|creep|cowards?|trash|garbage|fatso|ugly|disgusting|repulsive|imbecile|monkey|rats?|cockroach(?:es)?|savages|parasites?|animals|pervert|dipshit|troll|hicks|subhuman|degenerate|disgrace|sniveling|waste of|fart",
            "白痴|废物|混蛋|王八蛋|蠢|脑残|智障|傻瓜|傻子|傻叉|垃圾|人渣|渣滓|畜生|杂种|丑八怪|丑东西|死胖子|肥猪|猪脑|窝囊废|狗东西|神经病|贱|下贱|乡巴佬|土包子|老不死|烂货|娘炮|残废|恶心|不要脸|丢人|败类",
        ),
        "obscene": (
            r"f+u+c+k\w{0,6}|shit\w{0,6}|bullshit|bitch\w{0,4}|bastards?|cunts?|assholes?|arseholes?|dick ?heads?|whores?|sluts?|wankers?|crap|piss off|motherfuck\w{0,4}|damn(?:ed)?|goddamn|screw you|bloody|son of a bitch|sack of|bite me|puke|pie hole",
            "傻逼|傻屄|他妈|他娘|妈的|操你|草泥马|婊子|屁|屎|狗屁|臭嘴|破嘴|你妈|全家",
        ),
        "slur": (r"nigg\w{1,4}|faggots?|kikes?|spics?|chinks?|trann(?:y|ies)|inbred", "黑鬼|死基佬|阿三|支那"),
        "threat": (
            r"kill (?:yourself|you|your)|(?:i'll|i will|i'm going to|someone should) .{0,20}(?:kill|beat|smash|break|punch|slit|find you)|go die|drop dead|die in|choke on|rot in hell|go to hell|hang yourself|should be (?:shot|beaten|gassed)|your (?:teeth|throat|face) (?:in|off)|teeth out|slit your|beaten to|jump",
            "去死|打死|弄死|砍了|宰了|打断|撕烂|不得好死|报应|进棺材|欠抽|欠揍|怎么不死",
        ),
        "away": (r"shut up|shut (?:the|your|her|his)|get lost|fuck off|piss off|get out of my|go back to|get a life|out of my sight", "滚|闭嘴|闭上"),
        "you": (r"you(?:'re|r|rs)?|ur|u|thou", "你"),
        "group": (
            r"jews?|muslims?|blacks?|gays?|women|immigrants?|refugees|foreigners?|arabs|trans|mexicans|those people|your kind|these people",
            "女人|女的|外地人|黑人|穷人|同性恋|穆斯林|犹太",
        ),
        "quoted": (
            r"said|called|quot\w{1,4}|word|novel|film|villain|character|breeder|court|criticised|harmful|rules|hurts|stop calling|expression|chapter|against",
            "说过|骂过|这个词|小说|反派|伤人|有害|校规|批评|不礼貌|医学",
        ),
        "feel": (r"i (?:feel|felt|hate|am)|she felt|he felt|call me", "我觉得|我很难过|觉得自己|说我"),
        "kind": (r"please|thank\w{0,3}|great|kind|well done|sorry", "请|谢谢|您|不错"),
    },
}
"""By task: concepts, each with its English words and its Chinese ones."""


def _compiled(english: str, chinese: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9])(?:{english})(?![a-z0-9])|{chinese}")


CONCEPTS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    task: {name: _compiled(*words) for name, words in table.items()} for task, table in _TABLES.items()
}


def concepts_in(task: str, text: str) -> list[str]:
    """Return the names of a task's concepts that a text in its plain spelling has."""
    return [name for name, pattern in CONCEPTS[task].items() if pattern.search(text)]
